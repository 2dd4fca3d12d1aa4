"""Swaps: promotions that a change makes serve another artifact. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from reconciler.planner import Judgement, ObjectStatus, Plan, ResolvedObject, unaccepted
from reconciler.types import ForeignRef, Metrics, ObjectRef, TaskKey


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedArtifact:
    """An artifact and its object, None where that is not recorded.

    ``metrics`` is None while the artifact is not complete, or where its metrics are not recorded.
    ``accepted`` is false while a gate has not accepted it.
    """

    key: TaskKey
    object: ObjectRef | ForeignRef | None = None
    metrics: Metrics | None = None
    made: bool = True
    accepted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """A promotion with the artifact that it serves, and the next one."""

    ref: ObjectRef
    before: ServedArtifact
    after: ServedArtifact


def swaps_of(plan: Plan, before: Plan) -> Iterator[Swap]:
    """Yield the promotions whose artifact a change swaps.

    One that a sync of the base swaps alike is not the change's doing.
    """
    last = before.inputs.desired
    for ref, item in plan.inputs.desired.items():
        record = plan.inputs.records.get(ref)
        artifact = record.artifact if record is not None else None
        if item.promoted is None or item.key is None or artifact is None:
            continue
        if item.key == artifact.key:
            continue
        gates = _gates(plan, item)
        if any(judgement.rejected for judgement in gates.values()):
            continue
        if ref in last and last[ref].key == item.key and not _is_refused(before, last[ref]):
            continue
        complete = plan.inputs.ledger.result(item.key)
        yield Swap(
            ref=ref,
            before=ServedArtifact(
                key=artifact.key,
                object=_maker(artifact.key, ref, before, plan.inputs.records.values()),
                metrics=artifact.metrics,
            ),
            after=ServedArtifact(
                key=item.key,
                object=item.promoted,
                metrics=complete.result.metrics if complete is not None else None,
                made=complete is not None or item.external is not None,
                accepted=not gates,
            ),
        )


def _gates(plan: Plan, item: ResolvedObject) -> dict[ObjectRef, Judgement]:
    """Return the gates that have not accepted an object's artifact."""
    inputs = plan.inputs
    return dict(unaccepted(item, inputs.desired, inputs.records, inputs.ledger))


def _is_refused(plan: Plan, item: ResolvedObject) -> bool:
    """Return whether a gate has rejected what a promotion would serve."""
    return any(judgement.rejected for judgement in _gates(plan, item).values())


def _maker(
    key: TaskKey, ref: ObjectRef, before: Plan, records: Iterable[ObjectStatus]
) -> ObjectRef | ForeignRef | None:
    """Return the object that made an artifact, or None if unknown."""
    item = before.inputs.desired.get(ref)
    if item is not None and item.key == key:
        return item.promoted
    made = (r.ref for r in records if any(entry.key == key for entry in r.history))
    return next(made, None)
