"""Comparison of an object's runs: params and metrics in columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlencode

from reconciler.planner import HistoryEntry, ObjectStatus, TaskPhase
from reconciler.review import cut, format_number, format_value
from reconciler.types import JSON, TaskKind

ROWS = 100
#: Columns of params and of metrics; a run has up to 100 metrics, and params without a bound.
MOST_PARAMS, MOST_METRICS, MOST_SAME = 16, 12, 40
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Order:
    """The order of rows: by ``finished``, ``params.NAME`` or ``metrics.NAME``."""

    column: str = "finished"
    ascending: bool = False

    @classmethod
    def parse(cls, query: str) -> Order:
        """Read the order from a query; anything else is the newest first."""
        named = parse_qs(query, max_num_fields=40) if query.count("&") < 40 else {}
        column = named.get("sort", [""])[0]
        if column != "finished" and not column.startswith(("params.", "metrics.")):
            return cls()
        return cls(column, named.get("order") == ["asc"])

    def href(self, column: str) -> str:
        """Return the query that orders by a column, or reverses its order."""
        ascending = column == self.column and not self.ascending
        pairs = {"sort": column} | ({"order": "asc"} if ascending else {})
        return f"?{urlencode(pairs)}#history"

    def aria_sort(self, column: str) -> str:
        """Return the column's value of ``aria-sort``."""
        if column != self.column:
            return "none"
        return "ascending" if self.ascending else "descending"


@dataclass(frozen=True, slots=True)
class Cell:
    """A value, and its difference from the current artifact's.

    ``change`` is the difference of a number.
    """

    text: str
    differs: bool = False
    change: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A run that ended. ``current``: its artifact is the object's."""

    entry: HistoryEntry
    current: bool
    params: tuple[Cell, ...]
    metrics: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The runs of one task; ``same`` are the params equal in all."""

    task: TaskKind
    params: tuple[str, ...]
    metrics: tuple[str, ...]
    lines: tuple[Line, ...]
    same: tuple[tuple[str, str], ...]
    more_lines: int
    more_columns: int


def comparisons(record: ObjectStatus, order: Order) -> tuple[Comparison, ...]:
    """Make one comparison per task that has run, the artifact's task first."""
    kinds = [kind for kind in reversed(TaskKind) if any(e.task is kind for e in record.history)]
    return tuple(_compared(record, kind, order) for kind in kinds)


def _compared(record: ObjectStatus, kind: TaskKind, order: Order) -> Comparison:
    entries = _ordered([e for e in record.history if e.task is kind], order)
    current = _current(record, entries)
    names = _names(entry.params for entry in entries)
    varied = [n for n in names if len(entries) == 1 or _varies(n, entries)]
    same = [n for n in names if n not in varied]
    metrics = _names(entry.metrics for entry in entries)
    params, shown = varied[:MOST_PARAMS], metrics[:MOST_METRICS]
    return Comparison(
        task=kind,
        params=tuple(params),
        metrics=tuple(shown),
        lines=tuple(
            Line(
                entry=entry,
                current=entry is current and _is_current(record, entry),
                params=tuple(_param(name, entry, current) for name in params),
                metrics=tuple(_metric(name, entry, current) for name in shown),
            )
            for entry in entries[:ROWS]
        ),
        same=tuple((n, format_value(entries[0].params[n])) for n in same[:MOST_SAME]),
        more_lines=len(entries[ROWS:]),
        more_columns=len(varied[MOST_PARAMS:]) + len(metrics[MOST_METRICS:]),
    )


def _current(record: ObjectStatus, entries: Sequence[HistoryEntry]) -> HistoryEntry | None:
    """Return the run of the artifact, else the newest successful one."""
    made = [e for e in entries if e.phase is TaskPhase.SUCCEEDED and not e.gone]
    for entry in made:
        if _is_current(record, entry):
            return entry
    return max(reversed(made), key=lambda e: e.finished or _LONG_AGO, default=None)


def _is_current(record: ObjectStatus, entry: HistoryEntry) -> bool:
    made = entry.phase is TaskPhase.SUCCEEDED and not entry.gone
    if entry.task is TaskKind.BUILD:
        return made and entry.image is not None and entry.image == record.image
    return made and record.artifact is not None and record.artifact.key == entry.key


def _ordered(entries: Iterable[HistoryEntry], order: Order) -> list[HistoryEntry]:
    """Sort by a column; rows without a value come last, newest first."""
    # Of one second, the newest are the last in the history.
    newest = sorted(entries, key=lambda e: e.finished or _LONG_AGO)[::-1]
    group, _, name = order.column.partition(".")
    if group == "finished":
        return newest[::-1] if order.ascending else newest
    having = [e for e in newest if name in _values(e, group)]
    having.sort(key=lambda e: _rank(_values(e, group)[name]), reverse=not order.ascending)
    return having + [e for e in newest if name not in _values(e, group)]


def _values(entry: HistoryEntry, group: str) -> dict[str, JSON]:
    return dict(entry.metrics if group == "metrics" else entry.params)


def _rank(given: JSON) -> tuple[bool, float, str]:
    """Return a sort key: numbers by size, then others by their JSON."""
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return (False, given, "")
    return (True, 0.0, json.dumps(given, sort_keys=True))


def _names(mappings: Iterable[Mapping[str, object]]) -> list[str]:
    """Return every name, in the order of first use."""
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def _varies(name: str, entries: Sequence[HistoryEntry]) -> bool:
    first = entries[0].params.get(name, _ABSENT)
    return any(entry.params.get(name, _ABSENT) != first for entry in entries)


def _param(name: str, entry: HistoryEntry, current: HistoryEntry | None) -> Cell:
    mine = entry.params.get(name, _ABSENT)
    theirs = current.params.get(name, _ABSENT) if current is not None else mine
    text = format_value(entry.params[name]) if name in entry.params else ""
    return Cell(text, differs=mine != theirs)


def _metric(name: str, entry: HistoryEntry, current: HistoryEntry | None) -> Cell:
    if name not in entry.metrics:
        return Cell("")
    mine = entry.metrics[name]
    theirs = current.metrics.get(name) if current is not None else None
    if theirs is None or mine == theirs:
        return Cell(format_number(mine))
    sign = "+" if mine > theirs else ""
    change = f"{sign}{format_number(mine - theirs, digits=3)}"
    return Cell(format_number(mine), differs=True, change=cut(change, 12))
