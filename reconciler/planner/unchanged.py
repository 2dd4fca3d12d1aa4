"""Unchanged objects: those that the last applied plan found complete. Pure.

What is decided of an object whose tasks are all complete, and what its status then says, follows
from its resolved form, its status, the results of its keys and of those in its history. So where
applying a plan has left an object's status as it was, the next plan decides the same, as long as
the first two are identical, no result was lost or made again, its manifest at head is valid, and
nothing of it runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial

from reconciler.planner.identical import same_keys
from reconciler.planner.object_status import ObjectStatus
from reconciler.planner.phases import Phase, TaskPhase
from reconciler.planner.plan import ActionKind, Plan, PlanInput, TaskAction, Unchanged
from reconciler.planner.plan_cache import CacheEntry, PlanCache
from reconciler.planner.tasks import ResolvedObject
from reconciler.types import ObjectRef, TaskKind

_Objects = Mapping[ObjectRef, ResolvedObject]
_Actions = Mapping[ObjectRef, tuple[TaskAction, ...]]


def split_unchanged(inputs: PlanInput, cache: PlanCache) -> tuple[Unchanged, _Objects]:
    """Return the unchanged objects, and the others, upstream first."""
    desired, records, ledger = inputs.desired, inputs.records, inputs.ledger
    losses, applied = ledger.losses_changed, cache.applied
    if (
        applied is None
        or applied.inputs.ledger is not ledger
        or applied.unchanged.losses_changed != losses
    ):
        orphaned = frozenset(records.keys() - desired.keys())
        return Unchanged(orphaned=orphaned, losses_changed=losses), desired
    before, last = applied.inputs, applied.unchanged
    changed = cache.differing(before.desired, desired)
    changed |= cache.differing(before.records, records)
    complete = _complete(applied)
    look = changed | (applied.decided.keys() - complete.keys()) | inputs.invalid.keys()
    look |= {run.object for run in inputs.runs.values() if run.live and run.object is not None}
    known = {**last.actions, **complete}
    tasks = Counter(last.tasks)
    tasks.update(_kinds(complete.values()))
    tasks.subtract(_kinds(known.pop(ref) for ref in look & known.keys()))
    orphans = {ref for ref in changed if ref in records and ref not in desired}
    unchanged = Unchanged(
        orphaned=(last.orphaned - changed) | orphans,
        losses_changed=losses,
        actions=known,
        tasks=tasks,
    )
    places = cache.value("places", (desired,), partial(_places, desired))
    return unchanged, {
        ref: desired[ref] for ref in sorted(look & desired.keys(), key=places.__getitem__)
    }


def _places(
    desired: _Objects, last: CacheEntry[Mapping[ObjectRef, int]] | None
) -> Mapping[ObjectRef, int]:
    if last is not None and same_keys(last.inputs[0], desired):
        return last.value
    return {ref: place for place, ref in enumerate(desired)}


def _complete(applied: Plan) -> _Actions:
    """Return the actions of objects that a plan decided and found complete."""
    invalid, records = applied.inputs.invalid, applied.inputs.records
    return {
        ref: actions
        for ref, actions in applied.decided.items()
        if ref not in invalid and ref in records and _is_complete(records[ref], actions)
    }


def _is_complete(record: ObjectStatus, actions: tuple[TaskAction, ...]) -> bool:
    return (
        record.phase is Phase.READY
        and not record.ending
        and _serves(record)
        and all(
            action.action is ActionKind.KEEP and action.phase is TaskPhase.SUCCEEDED
            for action in actions
        )
    )


def _serves(record: ObjectStatus) -> bool:
    """Return whether a Ready object's artifact stays as it is."""
    artifact = record.artifact
    if artifact is None:  # of a sweep without a best one
        return record.desired is None and bool(record.variants)
    # A promotion may still serve an earlier one. What image it was made in can still become known,
    # where that is not known yet.
    known = artifact.image is not None or artifact.image_key is None
    return artifact.key == record.desired and known


def _kinds(found: Iterable[tuple[TaskAction, ...]]) -> Iterable[TaskKind]:
    return (action.task.kind for actions in found for action in actions)
