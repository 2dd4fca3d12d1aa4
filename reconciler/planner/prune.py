"""Pruning of objects without a manifest, and of needless builds. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from reconciler.manifests import Tenant
from reconciler.planner.holds import Releases, release_files, tenant_action
from reconciler.planner.names import hold_id
from reconciler.planner.plan import ActionKind, Hold, HoldKind, PlanInput, RunDeletion
from reconciler.planner.planner_config import PlannerConfig
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import ObjectRef, TaskKey, TaskKind


@dataclass(frozen=True, slots=True)
class Gone:
    """Objects without a manifest: removed ones, and kept ones with the reason."""

    removed: frozenset[ObjectRef]
    kept: Mapping[ObjectRef, Reason] = field(default_factory=dict)


def gone_objects(inputs: PlanInput, orphaned: AbstractSet[ObjectRef]) -> Gone:
    """Find objects of statuses and runs without any manifest at head.

    An invalid manifest counts as one. ``orphaned`` are the recorded objects that are not desired.
    """
    desired, invalid = inputs.desired, inputs.invalid
    owners = {
        run.object
        for run in inputs.runs.values()
        if run.object is not None and run.object not in desired
    }
    missing = (orphaned | owners) - invalid.keys()
    if not inputs.settings.prune:
        return Gone(frozenset(), dict.fromkeys(missing, Reason.of(ReasonCode.PRUNE_DISABLED)))
    kept = {}
    for ref in missing:
        unread = _unreadable(inputs, ref)
        if unread is not None:
            kept[ref] = Reason.of(ReasonCode.PRUNE_WITHHELD, problem=unread)
            continue
        record = inputs.records.get(ref)
        if record is not None and record.manifest is not None and record.manifest.protected:
            kept[ref] = Reason.of(ReasonCode.PRUNE_PROTECTED)
    return Gone(frozenset(missing - kept.keys()), kept)


def _unreadable(inputs: PlanInput, ref: ObjectRef) -> str | None:
    """Return the problem of a manifest that may be an object's."""
    if inputs.unreadable is not None or not inputs.tenant_unreadable:
        return inputs.unreadable
    tenant = inputs.settings.tenants.name_of(ref.namespace)
    return inputs.tenant_unreadable.get(tenant) if tenant is not None else None


def prune_holds(
    inputs: PlanInput, gone: frozenset[ObjectRef], releases: Releases
) -> Iterator[tuple[Hold, bool]]:
    """Yield the holds of removals, each with whether it is released.

    The share of each tenant's own objects is held apart, so that no tenant's removals wait for
    another's; then that of all other objects.
    """
    if not gone:
        return
    rest, settings, records = gone, inputs.settings, inputs.records
    tenants, documents = settings.tenants, inputs.documents
    known = Counter(tenants.of_namespace(ref.namespace) for ref in records if tenants)
    held = frozenset(
        ref for ref in gone if ref in records and records[ref].reason == ReasonCode.HELD_BY_PRUNE
    )
    for tenant in tenants.members:
        own = frozenset(ref for ref in rest if tenants.of_namespace(ref.namespace) is tenant)
        hold = prune_hold(own, held & own, known[tenant], documents, settings, tenant=tenant)
        if hold is not None:
            hold, released = releases.settle(hold)
            yield hold, released
            held -= own
            if not released:
                rest -= own
    hold = prune_hold(rest, held & rest, len(records), documents, settings)
    if hold is not None:
        yield releases.settle(hold)


def prune_hold(
    gone: frozenset[ObjectRef],
    held: frozenset[ObjectRef],
    known: int,
    documents: int,
    settings: PlannerConfig,
    *,
    tenant: Tenant | None = None,
) -> Hold | None:
    """Return a hold if more objects would be removed than ``prune`` allows.

    ``held`` are those that a sync before has held: they stay held, however the share changes as
    other objects are added. ``known`` counts the recorded objects, ``documents`` the manifests at
    head.
    """
    if not gone:
        return None
    if documents == 0:
        reason = Reason.of(ReasonCode.TREE_EMPTY, objects=len(gone))
    elif len(gone) > settings.prune_floor and len(gone) > settings.prune_share * known:
        reason = Reason.of(
            ReasonCode.PRUNE_TOO_LARGE,
            objects=len(gone),
            known=known,
            share=settings.prune_share,
            floor=settings.prune_floor,
        )
    elif held:
        gone = held
        reason = Reason.of(ReasonCode.REMOVAL_STILL_HELD, objects=len(gone))
    else:
        return None
    return Hold(
        id=hold_id([*(f"delete {ref}" for ref in gone), *tenant_action(tenant)]),
        kind=HoldKind.PRUNE,
        objects=gone,
        tasks=0,
        gpus=0,
        reason=reason,
        tenant=tenant.name if tenant is not None else None,
        files=release_files(tenant),
    )


def deletions(inputs: PlanInput, removed: Collection[ObjectRef]) -> list[RunDeletion]:
    """Delete all runs of removed objects.

    A run stays if a renamed object has the same key.
    """
    if not removed:
        return []
    desired = desired_keys(inputs)
    return [
        RunDeletion(
            run=run, action=ActionKind.DELETE, reason=Reason.of(ReasonCode.MANIFEST_REMOVED)
        )
        for run in inputs.runs.values()
        if run.object in removed and not run.deleting and run.key not in desired
    ]


def unneeded_builds(inputs: PlanInput, removed: Collection[ObjectRef]) -> list[RunDeletion]:
    """Cancel live builds with a key that no object needs any more.

    While any object's source is unknown, or a manifest wrong, nothing is known to be needless.
    """
    builds = [
        run
        for run in inputs.runs.values()
        if run.task is TaskKind.BUILD and run.live and not run.deleting
    ]
    if not builds:
        return []
    keys, request_hashes = set(), set()
    for item in inputs.desired.values():
        if item.blocked is not None and item.manifest.git_sources:
            return []
        for task in item.tasks:
            if task.kind is TaskKind.BUILD:
                keys.add(task.key)
                request_hashes.add(task.request_hash)
    kept = [ref for ref in inputs.records if ref not in inputs.desired and ref not in removed]
    if inputs.invalid or kept:
        return []
    return [
        RunDeletion(
            run=run, action=ActionKind.CANCEL, reason=Reason.of(ReasonCode.BUILD_NOT_NEEDED)
        )
        for run in builds
        if run.key not in keys and run.request_hash not in request_hashes
    ]


def desired_keys(inputs: PlanInput) -> frozenset[TaskKey | None]:
    """The keys of all tasks at head; None for unknown ones."""
    return frozenset(task.key for item in inputs.desired.values() for task in item.tasks)
