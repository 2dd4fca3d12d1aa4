"""Tables for terminals of any width."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from reconciler.planner import ObjectStatus, Phase
from reconciler.review import (
    Latest,
    format_number,
    format_value,
    is_best,
    no_reports,
    object_progress,
    printable,
    progress_bar,
    progress_text,
    run_seconds,
    seconds,
    shown_message,
    shown_metric,
    task_progress,
    variant_columns,
)
from reconciler.types import ObjectRef, TaskKey, TaskKind

_STYLE = {
    Phase.INVALID: "bold red",
    Phase.HELD: "bold yellow",
    Phase.BUILDING: "cyan",
    Phase.LOADING: "cyan",
    Phase.TRAINING: "cyan",
    Phase.EVALUATING: "cyan",
    Phase.FAILED: "bold red",
    Phase.LOST: "bold red",
    Phase.REJECTED: "bold red",
    Phase.READY: "green",
    Phase.SUSPENDED: "dim",
    Phase.WAITING: "yellow",
    Phase.PENDING: "dim",
}
#: Without a terminal there is no width to keep to: each row is one line, to be searched.
_PIPED_WIDTH = 1 << 16
_GAP = "   "
_INDENT = "    "
#: The narrowest space that a text is wrapped in.
_NARROWEST = 16


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a listing.

    ``below``: a row that is too long for the terminal has this cell on a line below. ``whole``: the
    cell is never wrapped, as a URL is copied. ``drop``: the column is left out where the rows are
    too long, the highest number first; 0 for never.
    """

    title: str
    right: bool = False
    below: bool = False
    whole: bool = False
    drop: int = 0


class Listing:
    """A table that cuts no cell, at any width.

    Columns that may be dropped are left out until the rows fit, and are named below the table. A
    row that is too long then continues on lines below; of several columns that may stand below, all
    rows then do. ``compact``: it is cut instead, so that each row is one line of a display that is
    drawn anew.
    """

    def __init__(self, *columns: Column, compact: bool = False) -> None:
        self._columns = columns
        self._compact = compact
        self._rows: list[tuple[Text, ...]] = []

    def add(self, *cells: str | Text) -> None:
        """Add a row. Texts of others are made printable before."""
        self._rows.append(tuple(Text(c) if isinstance(c, str) else c for c in cells))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        widths = [
            max([len(column.title), *(row[at].cell_len for row in self._rows)])
            for at, column in enumerate(self._columns)
        ]
        every, dropped = self._fitting(widths, width)
        beside = self._beside(every, widths, width)
        titles = [Text(column.title, style="bold") for column in self._columns]
        head = self._line(titles, every, widths)
        whole = [self._line(row, every, widths) for row in self._rows]
        broken = [line.cell_len > width for line in whole]
        if not self._compact and any(broken) and len(every) - len(beside) > 1:
            broken = [True for _ in broken]
        if head.cell_len > width or (broken and all(broken)):
            head = self._line(titles, beside, widths)
        lines: list[Text] = []
        for row, line, is_broken in zip(self._rows, whole, broken, strict=True):
            if is_broken and not self._compact:
                lines.append(self._line(row, beside, widths))
                lines += self._below(console, row, [e for e in every if e not in beside], width)
            else:
                line.truncate(width, overflow="ellipsis")
                lines.append(line)
        longest = max(line.cell_len for line in (head, *lines))
        yield from (head, Text("─" * min(width, longest)), *lines)
        if dropped:
            names = ", ".join(self._columns[at].title for at in dropped)
            yield Text(f"Left out, as the terminal is too narrow: {names}; -o wide prints all.")

    def _fitting(self, widths: Sequence[int], width: int) -> tuple[list[int], list[int]]:
        """Return the columns that are printed, and those that are dropped."""
        every, dropped = list(range(len(widths))), list[int]()
        while sum(widths[at] + len(_GAP) for at in every) > width + len(_GAP):
            last = max(every, key=lambda at: self._columns[at].drop)
            if not self._columns[last].drop:
                break
            every.remove(last)
            dropped.insert(0, last)
        return every, sorted(dropped)

    def _beside(self, every: Sequence[int], widths: Sequence[int], width: int) -> list[int]:
        """Return the columns of a row that continues below."""
        beside = [at for at in every if not self._columns[at].below]
        while len(beside) > 1 and sum(widths[at] + len(_GAP) for at in beside) > width + len(_GAP):
            beside.pop()
        return beside

    def _line(self, cells: Sequence[Text], shown: Sequence[int], widths: Sequence[int]) -> Text:
        line = Text()
        for at in shown:
            pad = " " * (widths[at] - cells[at].cell_len)
            cell = (pad, cells[at]) if self._columns[at].right else (cells[at], pad)
            line.append_text(Text.assemble(_GAP if line else "", *cell))
        line.rstrip()
        return line

    def _below(
        self, console: Console, row: Sequence[Text], others: Sequence[int], width: int
    ) -> Iterator[Text]:
        """Yield these other cells of a row, several of them with titles."""
        longest = max(len(self._columns[at].title) for at in others)
        for at in (at for at in others if row[at]):
            title = f"{self._columns[at].title.lower():{longest}}  " if len(others) > 1 else ""
            start = Text(_INDENT + title)
            if self._columns[at].whole:
                whole = Text.assemble(start, row[at])
                whole.no_wrap, whole.overflow = True, "ignore"
                yield whole
                continue
            room = max(_NARROWEST, width - len(start))
            for number, part in enumerate(row[at].wrap(console, room)):
                part.rstrip()
                yield Text.assemble(" " * len(start) if number else start, part)


def object_table(
    records: Iterable[ObjectStatus],
    *,
    among: Iterable[ObjectStatus] | None = None,
    now: datetime | None = None,
    compact: bool = False,
    latest: Latest | None = None,
    bars: bool = False,
) -> Listing:
    """Render a row per object: phase, run time, metrics and message.

    ``latest`` gives the progress of runs that are here; ``bars`` draws it too.
    A build that several of the objects ``among`` all share counts in the time of the first.
    """
    now = now or datetime.now(UTC)
    ordered = sorted(records, key=lambda record: record.ref)
    builders = _builders(ordered if among is None else among)
    namespaces = {record.ref.namespace for record in ordered}
    table = Listing(
        Column("KIND"),
        Column("NAME"),
        Column("PHASE"),
        Column("TIME", right=True),
        Column("METRIC"),
        Column("MESSAGE", below=True),
        compact=compact,
    )
    for record in ordered:
        ref = record.ref
        name = ref.name if len(namespaces) == 1 else f"{ref.namespace}/{ref.name}"
        table.add(
            ref.kind.value,
            printable(name),
            Text(_phase(record, latest, now, bars=bars), style=_STYLE[record.phase]),
            duration(record, builders, now),
            printable(shown_metric(record)),
            Text(printable(shown_message(record)), style="dim"),
        )
    return table


def variant_table(
    record: ObjectStatus,
    *,
    now: datetime | None = None,
    compact: bool = False,
    latest: Latest | None = None,
) -> Listing:
    """Render a row per training of a sweep, the best one marked."""
    now = now or datetime.now(UTC)
    params, metrics = variant_columns(record)
    table = Listing(
        Column("KEY"),
        *(Column(printable(name)) for name in params),
        Column("PHASE"),
        Column("TIME", right=True),
        *(Column(printable(name), right=True) for name in metrics),
        Column("MESSAGE", below=True),
        compact=compact,
    )
    tasks = {task.key: task for task in record.tasks}
    for variant in record.variants:
        task = tasks.get(variant.key)
        found = task_progress(task, latest) if task is not None and latest is not None else None
        phase = variant.phase.value if found is None else f"Running {progress_text(found, now)}"
        table.add(
            f"{variant.key[:12]}{' (best)' if is_best(record, variant) else ''}",
            *(format_value(variant.params[n]) if n in variant.params else "" for n in params),
            phase.rstrip(),
            seconds(run_seconds(record, task, now)) if task is not None and task.started else "",
            *(format_number(variant.metrics[n]) if n in variant.metrics else "" for n in metrics),
            Text(printable(variant.message), style="dim"),
        )
    return table


def _phase(record: ObjectStatus, latest: Latest | None, now: datetime, *, bars: bool) -> str:
    """Phase, and progress of a run that reports: ``Training 42%, 3m20s left``."""
    found = object_progress(record, latest or no_reports, now)
    if found is None:
        return record.phase.value
    bar = progress_bar(found.percentage) if bars else ""
    return " ".join(filter(None, (record.phase.value, bar, found.text)))


def console() -> Console:
    """Standard output, as wide as its terminal."""
    found = Console()
    return found if found.is_terminal else Console(width=_PIPED_WIDTH)


def _builders(records: Iterable[ObjectStatus]) -> Mapping[TaskKey, ObjectRef]:
    """Return the first object, by kind and name, of each build."""
    found: dict[TaskKey, ObjectRef] = {}
    for record in sorted(records, key=lambda record: record.ref):
        for task in record.tasks:
            if task.task is TaskKind.BUILD and task.key is not None:
                found.setdefault(task.key, record.ref)
    return found


def duration(record: ObjectStatus, builders: Mapping[TaskKey, ObjectRef], now: datetime) -> str:
    """The run time of an object's own tasks: ``12s``, ``3m04s`` or ``2h10m``."""
    own = [
        task
        for task in record.tasks
        if task.started is not None
        and (
            task.task is not TaskKind.BUILD
            or task.key is None
            or builders.get(task.key) == record.ref
        )
    ]
    return seconds(sum(run_seconds(record, task, now) for task in own)) if own else ""
