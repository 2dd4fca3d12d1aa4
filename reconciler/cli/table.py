"""Objects as a table, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reconciler.planner import ObjectStatus, Phase
from reconciler.review import printable, seconds, shown_message, shown_metric, task_seconds

_STYLE = {
    Phase.INVALID: "bold red",
    Phase.HELD: "bold yellow",
    Phase.BUILDING: "cyan",
    Phase.LOADING: "cyan",
    Phase.TRAINING: "cyan",
    Phase.FAILED: "bold red",
    Phase.LOST: "bold red",
    Phase.READY: "green",
    Phase.SUSPENDED: "dim",
    Phase.WAITING: "yellow",
    Phase.PENDING: "dim",
}
#: Without a terminal there is no width to keep to: what is cut cannot be searched for, or read in
#: the log of a pipeline.
_PIPED_WIDTH = 1 << 16


def object_table(records: Iterable[ObjectStatus], *, now: datetime | None = None) -> Table:
    """Render a row per object: phase, run time, metrics and message."""
    now = now or datetime.now(UTC)
    ordered = sorted(records, key=lambda record: record.ref)
    namespaces = {record.ref.namespace for record in ordered}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title in ("KIND", "NAME", "PHASE"):
        table.add_column(title, no_wrap=True)
    table.add_column("TIME", justify="right", no_wrap=True)
    table.add_column("METRIC", no_wrap=True)
    # Where the width does not do, rich shortens columns that may wrap before those that may not;
    # this one may, and each of its cells does not.
    table.add_column("MESSAGE", ratio=1)
    for record in ordered:
        ref = record.ref
        name = ref.name if len(namespaces) == 1 else f"{ref.namespace}/{ref.name}"
        table.add_row(
            ref.kind.value,
            Text(printable(name)),
            Text(record.phase.value, style=_STYLE[record.phase]),
            duration(record, now),
            Text(printable(shown_metric(record))),
            Text(printable(shown_message(record)), style="dim", no_wrap=True, overflow="ellipsis"),
        )
    return table


def console() -> Console:
    """Standard output, as wide as its terminal."""
    found = Console()
    return found if found.is_terminal else Console(width=_PIPED_WIDTH)


def duration(record: ObjectStatus, now: datetime) -> str:
    """The run time of an object's tasks: ``12s``, ``3m04s`` or ``2h10m``."""
    if not any(task.started for task in record.tasks):
        return ""
    return seconds(sum(task_seconds(task, now) for task in record.tasks))
