"""Objects that are done: a plan need not look at them again until something of theirs differs.

With 10,000 objects of which one has changed, looking at each costs a second. What is decided of
an object whose tasks are all complete, and what its record then says, is a function of what it is
asked to be, of its record, and of the results of complete keys, which never change. So where a sync
has left its record as it was, the next one decides the same as long as the first two are the very
same and nothing of it runs.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

from reconciler.planner.desired import Desired
from reconciler.planner.plan import ActionKind, Decision, Plan, Settled, Situation
from reconciler.planner.record import Phase, Record, TaskPhase
from reconciler.types import ObjectRef


def to_decide(situation: Situation) -> dict[ObjectRef, Desired]:
    """The objects that have to be looked at, upstream first."""
    settled, records, invalid = situation.settled, situation.records, situation.invalid
    busy = {run.object for run in situation.runs.values() if run.live}
    return {
        ref: item
        for ref, item in situation.desired.items()
        if (known := settled.get(ref)) is None
        or known.item is not item
        or known.record is not records.get(ref)
        or ref in busy
        or ref in invalid
    }


def settle(
    settled: dict[ObjectRef, Settled],
    plan: Plan,
    *,
    records: Mapping[ObjectRef, Record],
    changed: Container[ObjectRef],
) -> None:
    """Note what a plan has shown to be done; ``changed`` are those whose record it changed."""
    for ref, decisions in plan.decided.items():
        record = records.get(ref)
        if record is not None and ref not in changed and _is_done(record, decisions):
            settled[ref] = Settled(plan.situation.desired[ref], record, decisions)
        else:
            settled.pop(ref, None)
    for ref in plan.removed:
        settled.pop(ref, None)


def _is_done(record: Record, decisions: tuple[Decision, ...]) -> bool:
    return (
        record.phase is Phase.READY
        # What image it was made in can still become known, where that is not known yet.
        and record.artifact is not None
        and (record.artifact.image is not None or record.artifact.image_key is None)
        and all(
            decision.action is ActionKind.KEEP and decision.phase is TaskPhase.SUCCEEDED
            for decision in decisions
        )
    )
