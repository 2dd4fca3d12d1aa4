"""The diff between resolved objects and existing runs and results. Pure, total.

Only what is needed is made: starting from each object's artifact, a task is wanted if its key is
not complete and something that is wanted needs it. So a reverted manifest, whose artifact is
still there, asks for nothing, not even for an image that nobody remembers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from reconciler.planner.cost_holds import CostHolds, next_month, running_holds
from reconciler.planner.holds import Releases, guards
from reconciler.planner.job_retention import expired_jobs
from reconciler.planner.plan import (
    Hold,
    HoldKind,
    Plan,
    PlanInput,
    TaskAction,
)
from reconciler.planner.plan_cache import PlanCache
from reconciler.planner.prune import deletions, gone_objects, prune_holds, unneeded_builds
from reconciler.planner.task_actions import TaskActions
from reconciler.planner.unchanged import split_unchanged
from reconciler.types import ObjectRef


def make_plan(inputs: PlanInput, cache: PlanCache | None = None) -> Plan:
    """Return the plan for an input, always the same for the same."""
    unchanged, changed = split_unchanged(inputs, cache if cache is not None else PlanCache())
    gone = gone_objects(inputs, unchanged.orphaned)
    releases = Releases(
        every=inputs.released,
        by_tenant=inputs.tenant_releases,
        used=inputs.ledger.releases,
    )
    comparison = TaskActions(inputs, changed)
    held = [
        *guards(
            comparison.objects,
            inputs.records,
            frozenset(comparison.wanted.keys),
            inputs.ledger.losses,
            inputs.settings,
            releases,
        ),
        *prune_holds(inputs, gone.removed, releases),
        *CostHolds(inputs, comparison.objects, frozenset(comparison.wanted.keys), releases).all(),
        *running_holds(inputs, comparison.objects, comparison.live, gone.removed, releases),
    ]
    active = [hold for hold, released in held if not released]
    waiting = {ref: hold for hold in reversed(active) for ref in hold.objects}
    comparison.holds = {ref: hold for ref, hold in waiting.items() if ref in inputs.desired}
    comparison.going_on = {
        ref: hold for hold in active if hold.kind is HoldKind.RUNNING for ref in hold.objects
    }
    decided = comparison.all()
    spared = {ref: hold.held for ref, hold in waiting.items() if ref in gone.removed}
    removed = gone.removed - spared.keys()
    kept = {**gone.kept, **spared}
    ends = [
        *comparison.endings,
        *deletions(inputs, removed),
        *unneeded_builds(inputs, removed),
    ]
    ending = {end.run.name for end in ends}
    ends.extend(expired_jobs(inputs, ending))
    return Plan(
        inputs=inputs,
        unchanged=unchanged,
        decided=decided,
        endings=tuple(ends),
        removed=removed,
        kept=kept,
        holds=tuple(active),
        released=tuple(
            hold
            for hold, released in held
            # What another hold still keeps would have to be released once more.
            if released and not any(ref in waiting for ref in hold.objects)
        ),
        refused=tuple(releases.refused(active)),
        retry_at=min(_retries(inputs, decided, active), default=None),
    )


def _retries(
    inputs: PlanInput, decided: Mapping[ObjectRef, tuple[TaskAction, ...]], holds: list[Hold]
) -> Iterator[datetime]:
    """Yield the moments at which time alone changes the plan."""
    yield from (d.retry_at for each in decided.values() for d in each if d.retry_at is not None)
    if any(hold.kind is HoldKind.BUDGET for hold in holds):
        yield next_month(inputs.now)
