"""Comparison of artifacts by inputs, metrics and costs. Pure."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from reconciler.codec import Codec
from reconciler.errors import UsageFault
from reconciler.planner import HistoryEntry, ObjectStatus, Prices, TaskPhase
from reconciler.review.figures import format_number, format_value
from reconciler.review.quantities import counted, seconds
from reconciler.types import JSON, Commit, Kind, Metrics, TaskKey, TaskKind

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_ABSENT = object()
_SORT = re.compile(r"(?P<column>.+?)(?::(?P<order>asc|desc))?", re.DOTALL)
_KNOWN_SHOWN = 10
#: What each recorded cost is.
COST_BASIS = "estimate"
#: The column of costs, in tables for people.
COST_TITLE = f"cost ({COST_BASIS})"


@dataclass(frozen=True, slots=True)
class CodeVersion:
    """The commit of a source; its subject where that was found."""

    commit: Commit
    subject: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedArtifact:
    """An artifact as ``compare --format json`` prints it.

    ``commit`` is the manifest's. ``seconds`` are those of the run, null where they are unknown;
    ``cost`` is null without prices. ``current``: it is the artifact of its object. ``local``: a try
    without a commit made it on this machine.
    """

    kind: Kind
    namespace: str
    name: str
    key: TaskKey
    task: TaskKind
    current: bool
    local: bool
    finished: datetime | None
    params: Mapping[str, JSON]
    metrics: Metrics
    commit: Commit | None
    code: CodeVersion | None
    seconds: float | None
    gpu_seconds: float
    cost: float | None
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactComparison:
    """Artifacts in order, with differing params and all metrics.

    ``currency`` is that of the costs, empty where none is configured; ``cost_basis`` says what they
    are.
    """

    params: tuple[str, ...]
    metrics: tuple[str, ...]
    currency: str = ""
    cost_basis: str = COST_BASIS
    artifacts: tuple[ComparedArtifact, ...] = ()

    def commits(self) -> frozenset[Commit]:
        """Return the commits of the code of all rows."""
        return frozenset(row.code.commit for row in self.artifacts if row.code is not None)

    def with_subjects(self, subjects: Mapping[Commit, str]) -> ArtifactComparison:
        """Return the comparison with the subjects that were found."""
        rows = (
            replace(row, code=replace(row.code, subject=subjects.get(row.code.commit)))
            if row.code is not None
            else row
            for row in self.artifacts
        )
        return replace(self, artifacts=tuple(rows))


COMPARISON = Codec(ArtifactComparison, omit="nothing")
COMPARISON_ROW = Codec(ComparedArtifact, omit="nothing")


@dataclass(frozen=True, slots=True)
class CompareOrder:
    """The order of artifacts, by default the newest first."""

    column: str = "finished"
    ascending: bool = False

    @classmethod
    def parse(cls, text: str) -> CompareOrder:
        """Read ``NAME``, ``NAME:asc`` or ``NAME:desc``."""
        found = _SORT.fullmatch(text)
        return cls(found["column"], found["order"] == "asc") if found else cls()


def compare_artifacts(
    selected: Iterable[tuple[ObjectStatus, TaskKey | None]],
    among: Iterable[ObjectStatus],
    *,
    order: CompareOrder,
    currency: str = "",
    local: Container[TaskKey] = (),
) -> ArtifactComparison:
    """Compare all artifacts of objects, or those of given keys.

    ``among`` are the objects whose builds may have made the images, ``local`` the keys that only a
    try has made. Raises UsageFault for an order
    by what no artifact has.
    """
    sources = _sources(among)
    rows = _ordered(
        [
            _compared(record, entry, sources, local=entry.key in local)
            for record, entry in _entries(selected)
        ],
        order,
    )
    return ArtifactComparison(
        params=tuple(name for name in _names(r.params for r in rows) if _varies(name, rows)),
        metrics=tuple(_names(row.metrics for row in rows)),
        currency=currency,
        artifacts=tuple(rows),
    )


def _entries(
    selected: Iterable[tuple[ObjectStatus, TaskKey | None]],
) -> list[tuple[ObjectStatus, HistoryEntry]]:
    """Return each artifact once, by object."""
    found = {
        (record.ref, entry.key): (record, entry)
        for record, key in selected
        for entry in _made(record, key)
    }
    return [found[each] for each in sorted(found)]


def _made(record: ObjectStatus, key: TaskKey | None) -> list[HistoryEntry]:
    """Return the entry of a key, else the last task's.

    An artifact that was lost is not among them.
    """
    made = {
        entry.key: entry
        for entry in record.history
        if entry.phase is TaskPhase.SUCCEEDED and entry.artifact is not None and not entry.gone
    }
    if key is not None:
        return [made[key]] if key in made else []
    trained = [entry for entry in made.values() if entry.task is TaskKind.TRAIN]
    return trained or [entry for entry in made.values() if entry.task is not TaskKind.BUILD]


def _sources(records: Iterable[ObjectStatus]) -> Mapping[str, Commit]:
    """Return the source's commit of each build, by key."""
    return {
        entry.key: entry.source
        for record in records
        for entry in record.history
        if entry.task is TaskKind.BUILD and entry.source is not None
    }


def _compared(
    record: ObjectStatus,
    entry: HistoryEntry,
    sources: Mapping[str, Commit],
    *,
    local: bool,
) -> ComparedArtifact:
    code = sources.get(entry.image_key or "") or entry.source
    return ComparedArtifact(
        kind=record.ref.kind,
        namespace=record.ref.namespace,
        name=record.ref.name,
        key=entry.key,
        task=entry.task,
        current=record.artifact is not None and record.artifact.key == entry.key,
        local=local,
        finished=entry.finished,
        params=entry.params,
        metrics=entry.metrics,
        commit=entry.commit,
        code=CodeVersion(code, None) if code is not None else None,
        seconds=entry.seconds if entry.timed else None,
        gpu_seconds=entry.gpu_seconds,
        cost=entry.cost or None,
        url=entry.artifact or "",
    )


def _ordered(rows: list[ComparedArtifact], order: CompareOrder) -> list[ComparedArtifact]:
    """Sort by a column; rows without a value come last."""
    # Of one second, the newest are the last in the history.
    newest = sorted(rows, key=lambda row: row.finished or _LONG_AGO)[::-1]
    if order.column == "finished":
        return newest[::-1] if order.ascending else newest
    valued = [(_value(row, order.column), row) for row in newest]
    having = [(value, row) for value, row in valued if value is not None]
    if rows and not having:
        known = _known(rows)
        raise UsageFault(
            f"no artifact has a metric {order.column}; there is {', '.join(known[:_KNOWN_SHOWN])}"
        )
    having.sort(key=lambda pair: pair[0], reverse=not order.ascending)
    return [row for _, row in having] + [row for value, row in valued if value is None]


def _known(rows: Iterable[ComparedArtifact]) -> list[str]:
    return [*_names(row.metrics for row in rows), *_FIGURES]


def sortable_columns(found: ArtifactComparison) -> list[str]:
    """Return the columns that an order may name: those with any value."""
    rows = found.artifacts
    return ["finished", *(c for c in _known(rows) if any(_value(r, c) is not None for r in rows))]


_FIGURES = ("finished", "duration", "gpuSeconds", "cost")


def _value(row: ComparedArtifact, column: str) -> float | None:
    if column in row.metrics:
        return row.metrics[column]
    figures = {"duration": row.seconds, "gpuSeconds": row.gpu_seconds, "cost": row.cost}
    return figures.get(column)


def _names(mappings: Iterable[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def _varies(name: str, rows: Sequence[ComparedArtifact]) -> bool:
    first = rows[0].params.get(name, _ABSENT)
    return any(row.params.get(name, _ABSENT) != first for row in rows)


@dataclass(frozen=True, slots=True)
class ComparedCell:
    """A formatted value; a ``number`` is aligned to the right."""

    text: str
    number: bool = False


def comparison_columns(found: ArtifactComparison) -> list[str]:
    """Return the titles of the columns."""
    objects = {(row.namespace, row.kind, row.name) for row in found.artifacts}
    titles = ["object", "key"] if len(objects) != 1 else ["key"]
    titles += [*found.params, *found.metrics, "code", "duration", "GPU seconds"]
    return [*titles, COST_TITLE] if _priced(found) else titles


def comparison_rows(found: ArtifactComparison) -> list[list[ComparedCell]]:
    """Return the cells of each row, under `comparison_columns`."""
    with_object = "object" in comparison_columns(found)[:1]
    namespaces = {row.namespace for row in found.artifacts}
    prices = Prices(currency=found.currency)
    return [
        [
            *([ComparedCell(_object(row, namespaces))] if with_object else []),
            ComparedCell(f"{row.key[:12]}{_role(row)}"),
            *(
                ComparedCell(format_value(row.params[name]) if name in row.params else "")
                for name in found.params
            ),
            *(
                ComparedCell(
                    format_number(row.metrics[name]) if name in row.metrics else "", number=True
                )
                for name in found.metrics
            ),
            ComparedCell(code_text(row.code)),
            ComparedCell(seconds(row.seconds) if row.seconds is not None else "", number=True),
            ComparedCell(format_number(row.gpu_seconds), number=True),
            *(
                [ComparedCell(prices.shown(row.cost) if row.cost is not None else "", number=True)]
                if _priced(found)
                else []
            ),
        ]
        for row in found.artifacts
    ]


def _role(row: ComparedArtifact) -> str:
    if row.current:
        return " (current)"
    return " (local)" if row.local else ""


def _priced(found: ArtifactComparison) -> bool:
    return any(row.cost is not None for row in found.artifacts)


def _object(row: ComparedArtifact, namespaces: set[str]) -> str:
    return row.name if len(namespaces) == 1 else f"{row.namespace}/{row.name}"


def code_text(code: CodeVersion | None) -> str:
    """Format a code version: ``1a2b3c4d Train longer``."""
    if code is None:
        return ""
    return f"{code.commit[:8]} {code.subject}" if code.subject else code.commit[:8]


def comparison_summary(found: ArtifactComparison) -> str:
    """Return the number of artifacts, in words."""
    return counted(len(found.artifacts), "artifact")
