"""Reports of a plan to status, log, metrics and observer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Mapping, Sequence
from datetime import UTC, datetime

import structlog

from reconciler.codec import whole_seconds
from reconciler.config import Setup
from reconciler.daemon.status_store import StatusStore
from reconciler.git import Mirror
from reconciler.metrics import Metrics
from reconciler.planner import ObjectStatus, Phase, Plan, new_verdicts, update_status
from reconciler.status import MOST_ERRORS, RefusedHead, Sync
from reconciler.types import Commit, Location, ObjectRef, Problem
from reconciler.workspace import CommitPlanner, CommitSnapshot, PlannedCommit

#: Called after each sync with the plan, every object's record, and the errors at head.
Observer = Callable[[Plan, Mapping[ObjectRef, ObjectStatus], Sequence[Problem]], None]

log = structlog.get_logger(__name__)


def log_head(snapshot: CommitSnapshot) -> None:
    """Log a new head and its invalid manifests."""
    found = snapshot.collection
    bound = log.bind(commit=snapshot.commit[:12])
    bound.info("new head", manifests=len(found.objects), others=found.others)
    if snapshot.refused is not None:
        bound.error("head not verified", error=str(snapshot.refused))
    for problem in found.problems[:MOST_ERRORS]:
        bound.error("invalid manifest", object=str(problem.object or ""), error=str(problem))
    if more := len(found.problems[MOST_ERRORS:]):
        bound.error("more errors of manifests", count=more)


class PlanReporter:
    """Writes what a plan found and did into everything that people read."""

    def __init__(
        self,
        setup: Setup,
        *,
        mirror: Mirror,
        planner: CommitPlanner,
        store: StatusStore,
        metrics: Metrics,
        observe: Observer,
    ) -> None:
        self._setup = setup
        self._mirror = mirror
        self._planner = planner
        self._store = store
        self._metrics = metrics
        self._observe = observe

    async def report(self, planned: PlannedCommit, *, going_on: Container[str]) -> None:
        """Report a plan, some of whose runs to end go on.

        Raises GitError if the commit cannot be read.
        """
        store, plan, objects = self._store, planned.plan, planned.resolved.objects
        places = {ref: problem.location for ref, problem in objects.problems.items()}
        changed = await self._last_changed(planned)
        records = update_status(plan, changed=changed, places=places, going_on=going_on)
        before = {
            ref: known.phase
            for ref in (*records, *plan.removed)
            if (known := store.records.get(ref)) is not None
        }
        verdicts = [
            verdict
            for ref, record in records.items()
            for verdict in new_verdicts(store.records.get(ref), record)
        ]
        sync = self._sync(planned.snapshot, objects.errors)
        store.update(records, removed=plan.removed, sync=sync)
        self._planner.applied(plan)
        _log_changes(plan, records, before)
        self._metrics.gated(verdicts)
        self._metrics.report(plan, store.records, store.phases, errors=objects.errors)
        self._observe(plan, store.records, (*self._refusal(planned.snapshot), *objects.errors))

    def _refusal(self, snapshot: CommitSnapshot) -> tuple[Problem, ...]:
        if snapshot.refused is None:
            return ()
        branch = Location(self._setup.config.repository.branch)
        return (Problem(branch, "", str(snapshot.refused)),)

    async def _last_changed(self, planned: PlannedCommit) -> Mapping[str, Commit]:
        """The commits that last changed the files of objects without a status."""
        plan = planned.plan
        unknown = {
            plan.inputs.desired[ref].manifest.file
            for ref in plan.decided
            if ref not in self._store.records
        }
        if not unknown:
            return {}
        commit = planned.snapshot.commit
        return await asyncio.to_thread(self._mirror.last_changed, commit, unknown)

    def _sync(self, snapshot: CommitSnapshot, errors: tuple[Problem, ...]) -> Sync:
        config, refused = self._setup.config, snapshot.refused
        return Sync(
            cluster=config.cluster,
            instance=config.kubernetes.instance,
            path=config.repository.path,
            head=snapshot.commit,
            observed=whole_seconds(datetime.now(UTC)),
            refused=RefusedHead(
                commit=refused.head, reason=refused.reason.code, message=str(refused)
            )
            if refused is not None
            else None,
            errors=errors[:MOST_ERRORS],
            errors_omitted=len(errors[MOST_ERRORS:]),
            releases=self._store.ledger.releases,
            currency=config.prices.currency,
        )


def _log_changes(
    plan: Plan, records: Mapping[ObjectRef, ObjectStatus], before: Mapping[ObjectRef, Phase]
) -> None:
    for ref, record in records.items():
        if before.get(ref) != record.phase:
            log.info(
                "phase",
                object=str(ref),
                phase=record.phase.value,
                reason=record.reason,
                message=record.message,
            )
    for ref in plan.removed & before.keys():
        log.info("removed", object=str(ref))
