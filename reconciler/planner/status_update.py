"""The update of objects' statuses from a plan. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

from reconciler.engine import Run
from reconciler.planner.artifact_status import ArtifactUpdate, OriginUpdate
from reconciler.planner.conditions import ready_condition, warning_conditions
from reconciler.planner.endings import endings_by_payer, payers_of, recorded_history
from reconciler.planner.gates import judge
from reconciler.planner.object_status import (
    Condition,
    HistoryEntry,
    ManifestStatus,
    ObjectStatus,
    TaskStatus,
    Verdict,
)
from reconciler.planner.phases import DONE_TASKS, Phase, TaskPhase
from reconciler.planner.plan import Plan, RunDeletion, TaskAction
from reconciler.planner.spending import RunPricing, with_spent
from reconciler.planner.status_history import HistoryUpdate, extended
from reconciler.planner.sweep_status import (
    variant_statuses,
    variants_failed,
    variants_running,
    without_failed_variants,
)
from reconciler.planner.task_status import TaskUpdate
from reconciler.planner.tasks import ResolvedObject
from reconciler.reasons import Reason, ReasonCode, message
from reconciler.types import (
    Commit,
    Location,
    ObjectRef,
    Problem,
    SourceField,
    TaskKey,
    TaskKind,
)

_BUSY = {
    TaskKind.BUILD: Phase.BUILDING,
    TaskKind.LOAD: Phase.LOADING,
    TaskKind.TRAIN: Phase.TRAINING,
    TaskKind.EVALUATE: Phase.EVALUATING,
}


def update_status(
    plan: Plan,
    *,
    changed: Mapping[str, Commit],
    places: Mapping[ObjectRef, Location],
    going_on: Container[str] = (),
) -> dict[ObjectRef, ObjectStatus]:
    """Return the new statuses of objects that the plan has compared.

    Removed and unchanged objects have none. ``changed`` names the commit that last changed a
    manifest file, for objects seen for the first time; ``places`` is where each invalid object's
    manifest is. ``going_on`` are runs that the plan ends, and that have not been ended: they are
    recorded as ending, and what they cost is counted once they are. Of a removed object it is
    counted now, as nothing of it is known later.
    """
    inputs = plan.inputs
    keys = {decision.task.key for each in plan.decided.values() for decision in each}
    ended = defaultdict(list)
    for run in inputs.runs.values():
        if not run.live and run.key in keys:
            ended[run.key].append(run)
    payers = payers_of(plan)
    replaced = endings_by_payer(plan, payers)
    records = {}
    for ref, decisions in plan.decided.items():
        item = inputs.desired[ref]
        ends = replaced.get(ref, ())
        asked = [each for each in ends if each.run.name in going_on]
        gone = [each for each in ends if each not in asked]
        update = _StatusUpdate(plan, item, decisions, ended, changed, gone, asked, payers)
        records[ref] = update.record()
    for ref in plan.removed & inputs.records.keys():
        known = inputs.records[ref]
        if ref in replaced or known.ending:
            records[ref] = _removed(plan, known, replaced.get(ref, ()))
    for ref, problem in inputs.invalid.items():
        if ref not in records:
            records[ref] = _invalid(plan, ref, problem, places)
    holds = {ref: hold for hold in plan.holds for ref in hold.objects}
    for ref, reason in plan.kept.items():
        before = inputs.records.get(ref)
        if before is not None:
            hold = holds.get(ref)
            records[ref] = replace(
                before,
                phase=before.phase if hold is None else Phase.HELD,
                reason=reason.code.value,
                message=message(reason),
                hold=hold.id if hold is not None else None,
            )
    return records


def _removed(plan: Plan, known: ObjectStatus, replaced: Sequence[RunDeletion]) -> ObjectStatus:
    """Return the last status of a removed object that has runs.

    One may have ended since the last sync.
    """
    inputs = plan.inputs
    added = recorded_history(plan, known, replaced).added()
    return replace(
        known,
        ending=(),
        history=extended(known.history, added, inputs.ledger, None),
        spent=with_spent(known.spent, added, inputs.now),
    )


def statuses_after(plan: Plan) -> dict[ObjectRef, ObjectStatus]:
    """Return all statuses as a sync of the plan leaves them.

    Status files, the page, ``why`` and ``plan`` all have an object's phase and message from here.
    """
    new = update_status(plan, changed={}, places={})
    known = plan.inputs.records
    return {ref: found for ref, found in {**known, **new}.items() if ref not in plan.removed}


def _invalid(
    plan: Plan, ref: ObjectRef, problem: Problem, places: Mapping[ObjectRef, Location]
) -> ObjectStatus:
    """Return the status of an invalid object without a usable earlier manifest.

    It never had a valid one, or its last good one cannot be read back.
    """
    now = plan.inputs.now
    known = plan.inputs.records.get(ref)
    place = places.get(ref)
    manifest = known.manifest if known else None
    if manifest is None and place is not None:
        manifest = ManifestStatus(path=place.file, commit=plan.inputs.head, digest="")
    record = known or ObjectStatus(ref=ref, phase=Phase.INVALID)
    reason = Reason.of(ReasonCode.INVALID_MANIFEST, problem=str(problem))
    ready = ready_condition(record, Phase.INVALID, reason, task=None, now=now)
    return replace(
        record,
        phase=Phase.INVALID,
        reason=reason.code.value,
        message=str(problem),
        hold=None,
        manifest=manifest,
        conditions=(ready,),
    )


class _StatusUpdate:
    """One object's next status, from its last one and the plan's actions."""

    def __init__(
        self,
        plan: Plan,
        item: ResolvedObject,
        decisions: Sequence[TaskAction],
        ended: Mapping[TaskKey, Sequence[Run]],
        changed: Mapping[str, Commit],
        replaced: Sequence[RunDeletion],
        asked: Sequence[RunDeletion],
        payers: Mapping[str, ObjectRef],
    ) -> None:
        self.inputs = plan.inputs
        self.replaced = replaced
        self.asked = asked
        self.payers = payers
        self.item = item
        self.decisions = decisions
        self.ended = ended
        self.before = self.inputs.records.get(item.ref) or ObjectStatus(
            ref=item.ref, phase=Phase.PENDING
        )
        self.origin = OriginUpdate(self.inputs, item, self.before, changed)
        self.judgement = judge(item, self.inputs.records.get(item.ref), self.inputs.ledger)
        self.tasks = TaskUpdate(plan, self.before, ended)
        self.artifacts = ArtifactUpdate(self.inputs, item, self.before, self.judgement)

    def record(self) -> ObjectStatus:
        phase, reason = self._phase()
        tasks = tuple(self.tasks.status(decision) for decision in self.decisions)
        manifest = self.origin.manifest()
        history = self._history(tasks, manifest)
        added = [self._with_code(entry) for entry in history.added()]
        return ObjectStatus(
            ref=self.item.ref,
            phase=phase,
            reason=reason.code.value,
            message=message(reason, task=self._failed(phase)),
            hold=next((d.hold for d in self.decisions if d.hold), None),
            manifest=manifest,
            source=self.origin.source(SourceField.OBJECT),
            evaluation_source=self.origin.source(SourceField.EVALUATION),
            references=self.origin.references(),
            image=self.artifacts.image(),
            artifact=self.artifacts.artifact(),
            candidate=self.artifacts.candidate(),
            variants=variant_statuses(self.item, self.decisions, self.inputs.ledger),
            desired=self.item.key,
            conditions=self._conditions(phase, reason),
            tasks=tasks,
            ending=history.ending_runs(self.asked, {task.job for task in tasks}),
            served=self.artifacts.served(self.origin.served_by(manifest)),
            spent=with_spent(self.before.spent, added, self.inputs.now),
            history=extended(self.before.history, added, self.inputs.ledger, self._judged()),
        )

    # -- phase -----------------------------------------------------------------------------

    def _phase(self) -> tuple[Phase, Reason]:
        item, inputs = self.item, self.inputs
        if item.ref in inputs.invalid:
            problem = inputs.invalid[item.ref]
            return Phase.INVALID, Reason.of(ReasonCode.INVALID_MANIFEST, problem=str(problem))
        counted = without_failed_variants(item, self.decisions)
        by_phase = {decision.phase: decision for decision in reversed(counted)}
        if held := by_phase.get(TaskPhase.HELD):
            return Phase.HELD, held.reason
        if running := by_phase.get(TaskPhase.RUNNING):
            return _BUSY[running.task.kind], variants_running(item, running)
        if failed := by_phase.get(TaskPhase.FAILED):
            return Phase.FAILED, failed.reason
        if item.sweep is not None and item.sweep.has_failed:
            return Phase.FAILED, item.unknown
        if self._complete(counted):
            return Phase.READY, Reason.of(ReasonCode.COMPLETE)
        if rejected := self.artifacts.rejection():
            return Phase.REJECTED, rejected
        if lost := self._lost():
            return Phase.LOST, lost
        return self._unstarted(by_phase.get(TaskPhase.WAITING))

    def _unstarted(self, waiting: TaskAction | None) -> tuple[Phase, Reason]:
        """Return the phase of an incomplete object for which nothing runs."""
        item = self.item
        if item.manifest.document.spec.suspend:
            return Phase.SUSPENDED, Reason.of(ReasonCode.SUSPENDED)
        phase, reason = (Phase.WAITING, waiting.reason) if waiting else self._pending()
        if item.blocked is not None:
            phase, reason = Phase.WAITING, item.blocked
        follows = not item.tasks and item.manifest.observed is None
        served = self.artifacts.artifact() if follows or item.promoted is not None else None
        if served is None:
            return phase, reason
        key = served.key[:12]
        return Phase.READY, Reason.of(ReasonCode.STILL_SERVING, key=key, cause=reason)

    def _failed(self, phase: Phase) -> str | None:
        """Return the name of the task that makes the object Failed."""
        if phase is not Phase.FAILED:
            return None
        counted = without_failed_variants(self.item, self.decisions)
        return next((d.task.label for d in counted if d.phase is TaskPhase.FAILED), None)

    def _pending(self) -> tuple[Phase, Reason]:
        wanted = self.item.key
        if wanted is not None and wanted in self.inputs.ledger.restoring:
            return Phase.WAITING, self.inputs.ledger.restoring_reason(wanted)
        own = {task.key for task in self.item.tasks}
        for decision in self.decisions:
            if decision.needs and not own.issuperset(decision.needs):
                return Phase.WAITING, decision.reason
        starting = [d for d in self.decisions if d.phase is TaskPhase.PENDING]
        if starting:
            return Phase.PENDING, starting[0].reason
        for ref, judgement in self.artifacts.upstream():
            if judgement.rejected:
                key = (self.item.key or "")[:12]
                return Phase.WAITING, Reason.of(ReasonCode.BASE_REJECTED, object=ref, key=key)
        who = str(self.item.promoted)
        return Phase.WAITING, Reason.of(ReasonCode.WAITING_FOR_PROMOTION, object=who)

    def _complete(self, counted: Sequence[TaskAction]) -> bool:
        item = self.item
        if item.blocked is not None or not all(d.phase in DONE_TASKS for d in counted):
            return False
        if item.sweep is not None and item.sweep.best is None:
            return item.sweep.ended
        return item.key is not None and self.artifacts.current() is not None

    def _lost(self) -> Reason | None:
        """Return the loss of the requested artifact, until it is made again."""
        loss = self.inputs.ledger.losses.get(self.item.key) if self.item.key else None
        return Reason.of(ReasonCode.ARTIFACT_LOST, input="artifact", url=loss.url) if loss else None

    def _conditions(self, phase: Phase, reason: Reason) -> tuple[Condition, ...]:
        now = self.inputs.now
        keys = dict.fromkeys([*(d.task.key for d in self.decisions), self.item.key])
        known = (self.inputs.ledger.result(key) for key in keys)
        return (
            ready_condition(self.before, phase, reason, task=self._failed(phase), now=now),
            *warning_conditions(
                self.before,
                self.item,
                [each.result for each in known if each],
                lost=self._lost(),
                failed=variants_failed(self.item, self.inputs.ledger),
                now=now,
            ),
        )

    def _judged(self) -> tuple[TaskKey, Verdict, bool] | None:
        """Return the desired artifact's verdict, and whether a gate has given it."""
        if self.item.key is None:
            return None
        return self.item.key, self.judgement.verdict, self.item.gate is not None

    def _history(
        self, tasks: Sequence[TaskStatus], manifest: ManifestStatus | None
    ) -> HistoryUpdate:
        """Return the update of the history."""
        before, runs = self.before.tasks, self.inputs.runs
        keys = [decision.task.key for decision in self.decisions if decision.task.key is not None]
        ended = {run.name: run for key in keys for run in self.ended.get(key, ())}
        jobs = [task.job for task in before if task.job is not None]
        jobs += [each.job for each in self.before.ending]
        ended |= {job: runs[job] for job in jobs if job in runs and not runs[job].live}
        live = [decision.run for decision in self.decisions if decision.run is not None]
        return HistoryUpdate(
            before=self.before.history,
            tasks=tuple(zip(self.decisions, tasks, strict=True)),
            recorded=before,
            ended=ended,
            ledger=self.inputs.ledger,
            commit=manifest.commit if manifest else None,
            image=self.artifacts.image_now,
            judged=self._judged(),
            gated=self.item.gate is not None,
            replaced=self.replaced,
            ending=self.before.ending,
            runs=runs,
            pricing=RunPricing(
                self.inputs.settings.prices,
                before,
                self.before.ending,
                frozenset(
                    run.name
                    for run in (*ended.values(), *live)
                    if run.object is None and self.payers.get(run.name) != self.item.ref
                ),
            ),
            now=self.inputs.now,
        )

    def _with_code(self, entry: HistoryEntry) -> HistoryEntry:
        """Add the source's commit to a new entry of a desired key."""
        if entry.source is not None or entry.phase not in (TaskPhase.SUCCEEDED, TaskPhase.FAILED):
            return entry
        source = next((a.task.source for a in self.decisions if a.task.key == entry.key), None)
        return replace(entry, source=source.resolved.commit) if source is not None else entry
