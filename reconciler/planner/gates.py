"""Verdicts of gates on artifacts. Pure.

A gate is ``spec.evaluation`` of a Model. An artifact that it has accepted stays accepted, whatever
becomes of its lines: a verdict is recorded in the history of its object, and an artifact is judged
only until then. One that was made before there was a gate counts as accepted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from reconciler.manifests import GateLine
from reconciler.planner.ledger import Ledger
from reconciler.planner.object_status import CandidateStatus, HistoryEntry, ObjectStatus, Verdict
from reconciler.planner.phases import TaskPhase
from reconciler.planner.tasks import Gate, ResolvedObject, Task
from reconciler.types import Metrics, ObjectRef, TaskKey, TaskKind

_OF_ARTIFACTS = frozenset({TaskKind.LOAD, TaskKind.TRAIN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A verdict, with its metrics and the failed lines.

    A failed line says what was found.
    """

    verdict: Verdict
    metrics: Metrics = field(default_factory=dict)
    failed: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        """True if others may use the artifact."""
        return self.verdict is Verdict.ACCEPTED

    @property
    def rejected(self) -> bool:
        """True if nobody may use the artifact until Git accepts it."""
        return self.verdict is Verdict.REJECTED

    def candidate(self, key: TaskKey, url: str) -> CandidateStatus:
        """Return the status of the artifact that was judged."""
        return CandidateStatus(key=key, url=url, metrics=self.metrics, failed=self.failed)


_ACCEPTED = Judgement(verdict=Verdict.ACCEPTED)
_PENDING = Judgement(verdict=Verdict.PENDING)


def judge(item: ResolvedObject, record: ObjectStatus | None, ledger: Ledger) -> Judgement:
    """Return the verdict of an object's own gate on the desired artifact.

    Without a gate each artifact is accepted.
    """
    gate, key = item.gate, item.key
    if gate is None:
        return _ACCEPTED
    if key is None:
        return _PENDING
    complete = ledger.result(key)
    if complete is None and item.external is None:
        return _PENDING
    if _known_accepted(gate, key, record):
        return _ACCEPTED
    own: Metrics = complete.result.metrics if complete is not None else {}
    metrics = _measured(gate.task, own, ledger) if gate.lines else own
    current = _current(gate, ledger)
    if metrics is None or current is None:
        return _PENDING
    found = (
        _failure(line, metrics, current, compared=gate.current is not None) for line in gate.lines
    )
    failed = tuple(text for text in found if text is not None)
    verdict = Verdict.REJECTED if failed else Verdict.ACCEPTED
    return Judgement(verdict=verdict, metrics=metrics, failed=failed)


def _known_accepted(gate: Gate, key: TaskKey, record: ObjectStatus | None) -> bool:
    if gate.accept and key.startswith(gate.accept):
        return True
    if record is None:
        return False
    if record.artifact is not None and record.artifact.key == key:
        return True
    return any(is_accepted(entry) for entry in record.history if makes(entry, key))


def makes(entry: HistoryEntry, key: TaskKey) -> bool:
    """Return whether an entry is of a complete artifact with a key."""
    return entry.key == key and entry.phase is TaskPhase.SUCCEEDED and entry.task in _OF_ARTIFACTS


def is_accepted(entry: HistoryEntry) -> bool:
    """Return whether an entry's artifact is accepted.

    One that was made without a gate is.
    """
    return entry.verdict in (None, Verdict.ACCEPTED)


def _measured(task: Task | None, own: Metrics, ledger: Ledger) -> Metrics | None:
    """Return the metrics that count; None while their evaluation is not complete."""
    if task is None:
        return own
    if task.key is None or not ledger.has(task.key, TaskKind.EVALUATE):
        return None
    return ledger.completed[task.key].result.metrics


def evaluation_metrics(item: ResolvedObject, ledger: Ledger) -> Metrics:
    """Return the metrics of the desired artifact's evaluation, once complete."""
    task = item.gate.task if item.gate is not None else None
    return _measured(task, {}, ledger) or {}


def _current(gate: Gate, ledger: Ledger) -> Metrics | None:
    """Return the metrics of the accepted artifact; None while unknown."""
    if gate.current is None:
        return {}
    return _measured(gate.current_task, gate.current.metrics, ledger)


def _failure(
    line: GateLine, metrics: Metrics, current: Mapping[str, float], *, compared: bool
) -> str | None:
    """Return the text of a failed line, None for one that holds."""
    if line.current is not None and not compared:
        return None
    value = metrics.get(line.metric)
    if value is None:
        return f"{line.text} (no such metric)"
    bound = line.bound(current)
    if bound is None:
        return f"{line.text} (the accepted artifact has no such metric)"
    if line.holds(value, bound):
        return None
    compared_to = f", {line.current} is {current[line.current]:g}" if line.current else ""
    return f"{line.text} (found {value:g}{compared_to})"


def unaccepted(
    item: ResolvedObject,
    desired: Mapping[ObjectRef, ResolvedObject],
    records: Mapping[ObjectRef, ObjectStatus],
    ledger: Ledger,
) -> Iterator[tuple[ObjectRef, Judgement]]:
    """Yield the gates that have not accepted an object's desired artifact."""
    for ref in item.gates:
        found = judge(desired[ref], records.get(ref), ledger)
        if not found.accepted:
            yield ref, found


def required_keys(item: ResolvedObject) -> tuple[TaskKey, ...]:
    """Return the keys of the evaluations that a verdict takes."""
    gate = item.gate
    if gate is None or not gate.lines:
        return ()
    tasks = (gate.task, gate.current_task)
    return tuple(task.key for task in tasks if task is not None and task.key is not None)


def new_verdicts(before: ObjectStatus | None, after: ObjectStatus) -> Iterator[Verdict]:
    """Yield the verdicts that a status is the first to record."""
    known = {entry.key: entry.verdict for entry in before.history} if before is not None else {}
    for entry in after.history:
        decided = entry.verdict in (Verdict.ACCEPTED, Verdict.REJECTED)
        if entry.verdict is not None and decided and known.get(entry.key) is not entry.verdict:
            yield entry.verdict
