"""``reconciler status``."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import click
from rich import box
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from reconciler.cli.options import config_option, format_option, load_if_there
from reconciler.cli.recorded_state import StateReader
from reconciler.cli.select import (
    has_labels,
    kind_option,
    name_argument,
    namespace_option,
    note_unknown_labels,
    phase_option,
    read_labels,
    same,
)
from reconciler.cli.table import console, object_table
from reconciler.git import GitError
from reconciler.planner import HistoryEntry, ObjectStatus, TaskPhase
from reconciler.review import metric_texts, printable
from reconciler.status import dump_record, load_yaml
from reconciler.types import JSON

WATCH_INTERVAL = 2.0
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@click.command()
@name_argument(required=False)
@click.option(
    "-l",
    "labels",
    multiple=True,
    metavar="LABEL=VALUE",
    help="Only objects so labelled; several are joined by commas, or given one by one.",
)
@namespace_option
@kind_option
@phase_option
@click.option("--history", is_flag=True, help="Every artifact and remembered failure.")
@click.option(
    "--sort",
    metavar="FIELD",
    help="Order the history: `finished`, newest first, or a metric such as `metrics.accuracy`, "
    "highest first.",
)
@click.option("--watch", is_flag=True, help="Keep looking, until Ctrl-C.")
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
    """Show the status of all objects, or of those called NAME.

    It is read from the status branch, and needs no access to a cluster. Without a configuration
    file the repository in this folder is read, from what was last fetched. With --watch, JSON is a
    line at first, and at each change.
    """
    order = _order(sort, history=history)
    reader = StateReader(load_if_there(config_file), Path())
    wanted = read_labels(labels)

    def read(*, first: bool = False) -> list[ObjectStatus]:
        state = reader.read()
        if wanted and first:
            note_unknown_labels(state)
        return [
            record
            for record in state.records.values()
            if same(record.ref, name=name, namespace=namespace, kind=kind)
            and (not phases or record.phase.value in phases)
            and has_labels(record, wanted, state)
        ]

    records = read(first=True)
    if name is not None and not records:
        raise click.ClickException(f"no object is called {name}")
    if style == "json":
        if not watch:
            click.echo(json.dumps(_documents(records), indent=2, ensure_ascii=False))
            return
        with suppress(KeyboardInterrupt):
            _follow_json(records, read)
        return
    screen = console()

    def render(records: Sequence[ObjectStatus]) -> Table:
        return _history_table(records, order) if history else object_table(records)

    if not watch:
        screen.print(render(records))
        return
    with suppress(KeyboardInterrupt), Live(render(records), console=screen) as live:
        while True:
            time.sleep(WATCH_INTERVAL)
            why = None
            try:
                records = read()
            except GitError as error:  # a remote that is away for a moment: it stands as it was
                why = Text(str(error), style="yellow")
            live.update(Group(render(records), why) if why is not None else render(records))


def _documents(records: Sequence[ObjectStatus]) -> list[JSON]:
    """The status files of objects."""
    return [load_yaml(str(r.ref), dump_record(r)) for r in sorted(records, key=lambda r: r.ref)]


def _follow_json(
    records: Sequence[ObjectStatus], read: Callable[[], Sequence[ObjectStatus]]
) -> None:
    """Print a line now, and one at each change."""
    while True:
        click.echo(json.dumps(_documents(records), ensure_ascii=False))
        before = records
        while records == before:
            time.sleep(WATCH_INTERVAL)
            try:
                records = read()
            except GitError as error:  # a remote that is away for a moment
                click.echo(f"Note: {error}", err=True)


def _order(sort: str | None, *, history: bool) -> str | None:
    """Return the sort field of a history. Raises BadParameter."""
    if sort is None:
        return None
    if not history:
        raise click.UsageError("--sort orders a history; give --history as well")
    if sort != "finished" and not re.fullmatch(r"metrics\..+", sort):
        raise click.BadParameter(
            f"expected finished or metrics.NAME, found {sort}", param_hint="--sort"
        )
    return sort


def _sorted(
    records: Sequence[ObjectStatus], order: str | None
) -> list[tuple[ObjectStatus, HistoryEntry]]:
    """Every entry with its object; what has no such metric comes last."""
    entries = [
        (record, entry)
        for record in sorted(records, key=lambda r: r.ref)
        for entry in record.history
    ]
    if order == "finished":
        entries.sort(key=lambda pair: pair[1].finished or _LONG_AGO, reverse=True)
    elif order is not None:
        metric = order.removeprefix("metrics.")
        entries.sort(key=lambda pair: pair[1].metrics.get(metric, float("-inf")), reverse=True)
    return entries


def _history_table(records: Sequence[ObjectStatus], order: str | None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title in ("NAME", "FINISHED", "TASK", "KEY", "RESULT", "METRICS", "PARAMS"):
        table.add_column(title, no_wrap=title != "PARAMS")
    for record, entry in _sorted(records, order):
        table.add_row(*map(Text, _history_row(record, entry)))
    return table


def _history_row(record: ObjectStatus, entry: HistoryEntry) -> tuple[str, ...]:
    finished = entry.finished.strftime("%Y-%m-%d %H:%M") if entry.finished else ""
    made = entry.phase is TaskPhase.SUCCEEDED and entry.lost is None
    current = made and record.artifact is not None and record.artifact.key == entry.key
    result = "current" if current else "Lost" if entry.lost is not None else entry.phase.value
    metrics = ", ".join(metric_texts(entry.metrics))
    params = ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in entry.params.items()
    )
    if entry.phase is not TaskPhase.SUCCEEDED:
        metrics = entry.message
    row = (record.ref.name, finished, entry.task.value, entry.key[:12], result, metrics, params)
    return tuple(map(printable, row))
