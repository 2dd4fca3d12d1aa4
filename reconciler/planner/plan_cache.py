"""The cache of complete objects, without a diff until inputs differ.

With 10,000 objects of which one has changed, a diff of each costs a second. What is decided of
an object whose tasks are all complete, and what its record then says, is a function of what it is
asked to be, of its record, and of the results of complete keys, which never change. So where a sync
has left its record as it was, the next one decides the same as long as the first two are the very
same and nothing of it runs. Records change in syncs alone, each of which says which it changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from operator import is_
from typing import TypeVar

from reconciler.planner.object_status import ObjectStatus, Phase, TaskPhase
from reconciler.planner.plan import ActionKind, Plan, PlanCache, PlanInput, TaskAction
from reconciler.planner.tasks import ResolvedObject
from reconciler.types import ObjectRef

K = TypeVar("K")
V = TypeVar("V")


def valid_cache(
    settled: PlanCache,
    desired: Mapping[ObjectRef, ResolvedObject],
    records: Mapping[ObjectRef, ObjectStatus],
) -> PlanCache:
    """Drop the cached entries of objects that are resolved otherwise now."""
    if settled.desired is desired:
        return settled
    before = settled.desired if settled.desired is not None else {}
    different = differing(before, desired)
    left = replace(_without(settled, different), desired=desired)
    if settled.desired is not None and same_keys(before, desired):
        return replace(left, open=left.open | different)
    return replace(
        _without(left, settled.done.keys() - desired.keys()),
        order={ref: place for place, ref in enumerate(desired)},
        open=frozenset((left.open & desired.keys()) | different),
        orphaned=frozenset(records.keys() - desired.keys()),
    )


def objects_to_diff(situation: PlanInput) -> dict[ObjectRef, ResolvedObject]:
    """Return the objects that need a diff, upstream first."""
    settled, desired = situation.settled, situation.desired
    busy = {run.object for run in situation.runs.values() if run.live and run.object is not None}
    looked_at = settled.open | ((busy | situation.invalid.keys()) & desired.keys())
    return {ref: desired[ref] for ref in sorted(looked_at, key=settled.order.__getitem__)}


def update_cache(
    plan: Plan, *, records: Mapping[ObjectRef, ObjectStatus], changed: AbstractSet[ObjectRef]
) -> PlanCache:
    """Return the cache with the objects that a plan has found complete.

    ``changed`` are the objects whose status the plan has changed.
    """
    desired = plan.situation.desired
    found = {
        ref: decisions
        for ref, decisions in plan.decided.items()
        if ref in records and ref not in changed and _is_done(records[ref], decisions)
    }
    left = _without(plan.situation.settled, plan.decided.keys())
    tasks = Counter(d.task.kind for decisions in found.values() for d in decisions)
    return replace(
        left,
        done={**left.done, **found},
        open=frozenset(plan.decided.keys() - found.keys()),
        tasks=Counter(left.tasks) + tasks,
        orphaned=(left.orphaned | {ref for ref in changed if ref not in desired}) - plan.removed,
    )


def _without(settled: PlanCache, refs: AbstractSet[ObjectRef]) -> PlanCache:
    left = refs & settled.done.keys()
    if not left:
        return settled
    done, tasks = dict(settled.done), Counter(settled.tasks)
    for ref in left:
        tasks.subtract(decision.task.kind for decision in done.pop(ref))
    return replace(settled, done=done, tasks=tasks)


def _is_done(record: ObjectStatus, decisions: tuple[TaskAction, ...]) -> bool:
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


def same_keys(before: Mapping[K, V], now: Mapping[K, V]) -> bool:
    """Return True if both have identical keys in the same order."""
    return before is now or (len(before) == len(now) and all(map(is_, before, now)))


def differing(before: Mapping[K, V], now: Mapping[K, V]) -> set[K]:
    """Return the keys of ``now`` whose value is not identical in ``before``.

    A key that is not in ``before`` is one of them.

    Half a millisecond for 10,000, where the keys are the same in the same order.
    """
    if before is now:
        return set()
    if same_keys(before, now):
        pairs = zip(now, before.values(), now.values(), strict=True)
        return {key for key, old, new in pairs if old is not new}
    return {key for key, value in now.items() if before.get(key) is not value}
