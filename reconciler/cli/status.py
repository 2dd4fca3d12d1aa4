"""``reconciler status``."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn, Protocol

import click
from rich.console import Console, Group, RenderableType
from rich.text import Text

from reconciler.backoff import jittered
from reconciler.cli.options import config_option, format_option, load_if_there
from reconciler.cli.progress import known_progress
from reconciler.cli.promotions import served_table
from reconciler.cli.recorded_state import RecordedState, StateReader, note_refused
from reconciler.cli.select import (
    find_key,
    has_labels,
    keys_of,
    kind_option,
    label_option,
    name_argument,
    namespace_option,
    note_unknown_labels,
    phase_option,
    read_labels,
    removed_error,
    same,
    unknown_name,
    with_removed,
)
from reconciler.cli.table import Column, Listing, console, object_table, variant_table
from reconciler.cli.terminal import json_text, tell
from reconciler.git import GitError
from reconciler.manifests import did_you_mean
from reconciler.planner import HOUR, HistoryEntry, ObjectStatus, Prices, TaskPhase, Verdict
from reconciler.review import COST_TITLE, metric_texts, printable, seconds
from reconciler.status import status_document
from reconciler.types import JSON

WATCH_INTERVAL = 2.0
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@click.command()
@name_argument(required=False)
@label_option
@namespace_option
@kind_option
@phase_option
@click.option(
    "--history",
    is_flag=True,
    help="List the finished runs: artifacts, failures, lost and superseded attempts, with metrics "
    "and params; of promotions, what they served since when, and by which commit.",
)
@click.option(
    "--sort",
    metavar="FIELD",
    help="Order of the history: `finished`, newest first, or a metric such as `metrics.accuracy`, "
    "highest first. A leading - reverses it: `-metrics.loss`.  [default: finished]",
)
@click.option(
    "--watch",
    is_flag=True,
    help="Show changes as they come, until Ctrl-C; JSON is one line per change.",
)
@format_option("text", "json")
@config_option
def status(
    name: str | None,
    labels: tuple[str, ...],
    namespace: str | None,
    kind: str | None,
    phases: tuple[str, ...],
    history: bool,
    sort: str | None,
    watch: bool,
    style: str,
    config_file: Path,
) -> None:
    """Show the status of all Models and Datasets, or of NAME.

    NAME is a Model or Dataset; it may also be a key, or the first 6 or more digits of one, as
    tables show keys.

    The daemon commits the status to a branch of the manifest repository. This command reads that
    branch: from the repository that the configuration names, or without a configuration from the
    clone in this folder, as of its last `git fetch`. No access to a cluster is needed.

    With NAME, each training of a sweep has a row of its own.

    TIME is what runs took: those of the object's present tasks together, or in the history one. It
    counts from the node of a run's first pod, on the local engine from the start of its command, to
    its end. A shared build counts in the first object alone.

    A run of the local engine on this machine is shown with the percentage and the remaining time
    that it reports. So is one of a cluster for users who may read the Lease of its daemon.
    """
    order = _order(sort, history=history)
    setup = load_if_there(config_file)
    reader = StateReader(setup, Path())
    latest = known_progress(setup)
    wanted = read_labels(labels)

    everything: list[ObjectStatus] = []
    states: list[RecordedState] = []

    def read(*, first: bool = False) -> list[ObjectStatus]:
        state = reader.read()
        everything[:] = state.records.values()
        states[:] = [state]
        if wanted and first:
            note_unknown_labels(state)
        if first:
            note_refused(state)
        return [
            record
            for record in _named(state, name, history=history, strict=first)
            if same(record.ref, name=None, namespace=namespace, kind=kind)
            and (not phases or record.phase.value in phases)
            and has_labels(record, wanted, state)
        ]

    records = read(first=True)
    if name is not None and not records:
        raise click.ClickException(
            f"{name} does not match the options; without them, `reconciler status {name}` shows it"
        )
    _check_metric(order, records)
    screen = console()

    def render(records: Sequence[ObjectStatus], *, compact: bool = False) -> RenderableType:
        if history:
            return _history(records, order, states[0], compact=compact)
        table = object_table(
            records, among=everything, compact=compact, latest=latest, bars=compact
        )
        sweeps = [record for record in records if record.variants] if name is not None else []
        tables = [variant_table(each, compact=compact, latest=latest) for each in sweeps]
        return Group(table, *(part for each in tables for part in (Text(), each)))

    with suppress(KeyboardInterrupt):
        if watch and style == "text" and screen.is_terminal:
            _watch(screen, render, records, read)
        for shown in _changes(records, read) if watch else (records,):
            if style == "json":
                indent = None if watch else 2
                click.echo(json_text(_documents(shown), indent=indent))
            else:
                screen.print(render(shown))
                screen.file.flush()


def _named(
    state: RecordedState, name: str | None, *, history: bool, strict: bool
) -> Iterable[ObjectStatus]:
    """Return the records of a name or key; without one, all.

    The history of a removed object is found by its name or key. With ``strict``, raises
    ClickException if there is none.
    """
    if name is None:
        return state.records.values()
    if strict:
        state.check_synced()
    records = with_removed(state, name)
    key = None if any(ref.name == name for ref in records) else find_key(name, records)
    found = [
        record
        for ref, record in records.items()
        if ref.name == name or (key is not None and key in keys_of(record))
    ]
    if not found and strict:
        raise unknown_name(name, records, recorded=True)
    present = [record for record in found if record.ref in state.records]
    if found and not present and not history:
        raise removed_error(found[0].ref)
    return present or found


class _Render(Protocol):
    """Renders records as a table."""

    def __call__(
        self, records: Sequence[ObjectStatus], *, compact: bool = False
    ) -> RenderableType: ...


def _watch(
    screen: Console,
    render: _Render,
    records: Sequence[ObjectStatus],
    read: Callable[[], Sequence[ObjectStatus]],
) -> NoReturn:
    """Show the objects on a terminal, until Ctrl-C."""
    from rich.live import Live  # noqa: PLC0415 -- only to watch

    with Live(render(records, compact=True), console=screen) as live:
        while True:
            time.sleep(jittered(WATCH_INTERVAL))
            why = None
            try:
                records = read()
            except GitError as error:  # a remote that is away for a moment: it stands as it was
                why = Text(str(error), style="yellow")
            table = render(records, compact=True)
            live.update(Group(table, why) if why is not None else table)


def _documents(records: Sequence[ObjectStatus]) -> list[JSON]:
    """The status files of objects."""
    return [status_document(r) for r in sorted(records, key=lambda r: r.ref)]


def _changes(
    records: Sequence[ObjectStatus], read: Callable[[], Sequence[ObjectStatus]]
) -> Iterator[Sequence[ObjectStatus]]:
    """Yield the objects now, and at each change."""
    while True:
        yield records
        before = records
        while records == before:
            time.sleep(jittered(WATCH_INTERVAL))
            try:
                records = read()
            except GitError as error:  # a remote that is away for a moment
                tell(f"Note: {error}", err=True)


@dataclass(frozen=True, slots=True)
class _Order:
    """The order of a history: by a metric, else newest first."""

    metric: str | None = None
    ascending: bool = False


def _order(sort: str | None, *, history: bool) -> _Order:
    """Return the order of a history. Raises BadParameter."""
    if sort is None:
        return _Order()
    if not history:
        raise click.UsageError("--sort orders a history; give --history as well")
    found = _SORT.fullmatch(sort)
    if found is None:
        raise click.BadParameter(
            f"expected finished or metrics.NAME, found {sort}", param_hint="--sort"
        )
    return _Order(found["metric"], bool(found["reverse"]))


_SORT = re.compile(r"(?P<reverse>-?)(?:finished|metrics\.(?P<metric>.+))")


def _check_metric(order: _Order, records: Sequence[ObjectStatus]) -> None:
    """Raise BadParameter for a metric that no entry of these histories has."""
    if order.metric is None:
        return
    known = {name for record in records for entry in record.history for name in entry.metrics}
    if order.metric not in known:
        near = did_you_mean(order.metric, known)
        have = near or (f"; there is {', '.join(sorted(known)[:10])}" if known else "")
        raise click.BadParameter(f"no entry has a metric {order.metric}{have}", param_hint="--sort")


def _sorted(
    records: Sequence[ObjectStatus], order: _Order
) -> list[tuple[ObjectStatus, HistoryEntry]]:
    """Every entry with its object; what has no such metric comes last.

    What is equal in the order stands by its object, the newest first.
    """
    entries = [
        (record, entry)
        for record in sorted(records, key=lambda r: r.ref)
        for entry in reversed(record.history)
    ]
    if order.metric is None:
        entries.sort(key=lambda p: p[1].finished or _LONG_AGO, reverse=not order.ascending)
        return entries
    metric = order.metric
    having = [pair for pair in entries if metric in pair[1].metrics]
    having.sort(key=lambda pair: pair[1].metrics[metric], reverse=not order.ascending)
    return having + [pair for pair in entries if metric not in pair[1].metrics]


def _history(
    records: Sequence[ObjectStatus],
    order: _Order,
    state: RecordedState,
    *,
    compact: bool = False,
) -> RenderableType:
    """Render the runs, and below them what promotions have served.

    A promotion runs nothing: of promotions alone there is no table of runs.
    """
    table = _history_table(records, order, state.prices, compact=compact)
    served = served_table(records, state.repository, compact=compact)
    if served is None:
        return table
    ran = any(record.history for record in records)
    return Group(table, Text(), served) if ran else served


def _history_table(
    records: Sequence[ObjectStatus], order: _Order, prices: Prices, *, compact: bool = False
) -> Listing:
    """Render a row per entry.

    TIME to COST and MESSAGE are there only where an entry has one.
    """
    rows = [_history_row(record, entry, prices) for record, entry in _sorted(records, order)]
    columns = [Column(title) for title in ("NAME", "FINISHED", "TASK", "KEY", "RESULT")]
    columns += [Column(title) for title in _PRICED]
    columns += [Column(title, below=True) for title in ("METRICS", "PARAMS", "MESSAGE")]
    optional = {*_PRICED, "MESSAGE"}
    shown = [
        place
        for place, column in enumerate(columns)
        if column.title not in optional or any(row[place] for row in rows)
    ]
    table = Listing(*(columns[place] for place in shown), compact=compact)
    for row in rows:
        table.add(*(row[place] for place in shown))
    return table


#: Columns of what a run took, where any did.
_PRICED = ("TIME", "GPU HOURS", COST_TITLE.upper())


def _history_row(record: ObjectStatus, entry: HistoryEntry, prices: Prices) -> tuple[str, ...]:
    finished = entry.finished.strftime("%Y-%m-%d %H:%M") if entry.finished else ""
    made = entry.phase is TaskPhase.SUCCEEDED and not entry.gone
    current = made and record.artifact is not None and record.artifact.key == entry.key
    result = "current" if current else entry.phase.value
    if entry.lost is not None:
        result = "Lost"
    elif entry.gone:
        result = "Removed"
    elif entry.hidden is not None:
        result = "Hidden"
    elif made and entry.verdict is Verdict.REJECTED:
        result = entry.verdict.value
    metrics = ", ".join(metric_texts(entry.metrics))
    params = ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in entry.params.items()
    )
    message = "" if entry.phase is TaskPhase.SUCCEEDED else entry.message
    key = entry.key[:12]
    took = seconds(entry.seconds) if entry.timed else ""
    gpu_hours = f"{entry.gpu_seconds / HOUR:.2f}" if entry.gpu_seconds else ""
    cost = prices.shown(entry.cost) if entry.cost else ""
    price = (took, gpu_hours, cost)
    row = (record.ref.name, finished, entry.label, key, result, *price)
    return tuple(map(printable, (*row, metrics, params, message)))
