"""The actions for the tasks of changed objects. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from reconciler.engine import FailureClass, Run, RunPhase
from reconciler.planner.live_runs import LiveRuns
from reconciler.planner.names import run_name
from reconciler.planner.phases import TaskPhase
from reconciler.planner.plan import (
    ActionKind,
    Hold,
    PlanInput,
    RunDeletion,
    TaskAction,
    TaskActionBuilder,
)
from reconciler.planner.run_spec import build_owners, image_of, mounts_of, render_run
from reconciler.planner.superseding import cancel, cancellations, goes_on, is_cancelled
from reconciler.planner.tasks import ResolvedObject, Task
from reconciler.planner.wanted_tasks import WantedTasks
from reconciler.reasons import INVALID_SOURCES, Reason, ReasonCode
from reconciler.types import ObjectRef, TaskKey, TaskKind
from reconciler.urls import admits_image


@dataclass(slots=True)
class TaskActions:
    """One pass over the objects that need a diff, upstream first."""

    inputs: PlanInput
    objects: Mapping[ObjectRef, ResolvedObject]
    holds: Mapping[ObjectRef, Hold] = field(default_factory=dict)
    #: Objects whose superseded runs go on until their hold is released.
    going_on: Mapping[ObjectRef, Hold] = field(default_factory=dict)
    stuck: dict[TaskKey, Reason] = field(default_factory=dict)
    endings: list[RunDeletion] = field(default_factory=list)
    owners: dict[tuple[str, TaskKey], tuple[ObjectRef, Task]] = field(default_factory=dict)
    wanted: WantedTasks = field(init=False)
    live: LiveRuns = field(init=False)

    def __post_init__(self) -> None:
        self.live = LiveRuns(self.inputs.runs.values(), self.objects, self.inputs.settings)
        self.owners = build_owners(self.objects)
        self.wanted = WantedTasks(self.inputs, self.objects)

    # -- one decision per task -------------------------------------------------------------

    def all(self) -> dict[ObjectRef, tuple[TaskAction, ...]]:
        """Return each object's actions.

        Upstream first, so that waiting tasks name their cause.
        """
        return {ref: tuple(self._tasks(item)) for ref, item in self.objects.items()}

    def _tasks(self, item: ResolvedObject) -> Iterator[TaskAction]:
        for task in item.tasks:
            decision = self._shared(item, task) or self._one(item, task)
            yield decision
            if task.key is not None and decision.phase in _STUCK:
                self.stuck.setdefault(
                    task.key,
                    Reason.of(
                        ReasonCode.DEPENDENCY_BLOCKED,
                        object=item.ref,
                        task=task.label,
                        cause=decision.reason,
                    ),
                )

    def _shared(self, item: ResolvedObject, task: Task) -> TaskAction | None:
        """Return the action of a task that another object already owns.

        That is a build of the same namespace or, by ``formerly``, any task.

        The latter while an object and the one that it is to become are both there.
        """
        if task.key is None or task.key not in self.wanted.keys:
            return None
        build = task.kind is TaskKind.BUILD
        slot = item.ref.namespace, task.key
        owner, owned = self.owners[slot] if build else self.wanted.producers[task.key]
        if owner == item.ref:
            return None
        if item.ref not in self.going_on:
            superseded = self.live.superseded_by(item.ref, task)
            self.endings.extend(cancellations(superseded, task, self.inputs))
        decision = self._one(self.objects[owner], owned, shadow=True)
        action = ActionKind.KEEP if decision.action is ActionKind.CREATE else decision.action
        shared = Reason.of(ReasonCode.SHARED, owner=owner)
        return TaskAction(
            ref=item.ref,
            # Of the owner it may be another source that has the same tree.
            task=replace(owned, source=task.source) if build else owned,
            action=action,
            phase=decision.phase,
            reason=shared if action is ActionKind.KEEP else decision.reason,
            run=decision.run,
            hold=decision.hold,
        )

    def _one(self, item: ResolvedObject, task: Task, *, shadow: bool = False) -> TaskAction:
        """Return the action of one task.

        With ``shadow``, only its state is computed: no run is deleted or counted.
        """
        answer = TaskActionBuilder(item.ref, task)
        key = task.key
        superseded = self.live.superseded_by(item.ref, task)
        kept = self.going_on.get(item.ref)
        if not shadow and kept is None:
            self.endings.extend(cancellations(superseded, task, self.inputs))
        earlier = next((run for run in superseded if goes_on(run, task)), None)
        cancelled = self._cancelled(answer, item, earlier, shadow=shadow)
        if cancelled is not None:
            return cancelled
        if key is None:
            return self._keyless(answer, item, earlier)
        if key not in self.wanted.keys:
            return self._unwanted(answer, key)
        earlier_goes_on = self._reported(task, TaskPhase.RUNNING)
        if earlier_goes_on is not None:
            return answer.keep(TaskPhase.RUNNING, earlier_goes_on)
        for run in self.live.of_slot(self._name(item.ref, task)):
            return self._live(answer, run, shadow=shadow)
        if kept is not None and superseded:
            return answer.hold(kept, run=superseded[0])
        if earlier is not None:
            return self._earlier(answer, earlier, Reason.of(ReasonCode.SOURCE_MOVED))
        return (
            self._failed(answer)
            or self._blocked(answer, item)
            or self._start(answer, item, superseded, shadow=shadow)
        )

    def _unwanted(self, answer: TaskActionBuilder, key: TaskKey) -> TaskAction:
        """Return the action of a task that makes nothing now."""
        if self.wanted.is_complete(key):
            return answer.keep(TaskPhase.SUCCEEDED, _COMPLETE)
        if key in self.inputs.ledger.restoring:
            return answer.wait(self.inputs.ledger.restoring_reason(key))
        return answer.keep(TaskPhase.NEEDLESS, Reason.of(ReasonCode.NOT_NEEDED))

    def _keyless(
        self, answer: TaskActionBuilder, item: ResolvedObject, earlier: Run | None
    ) -> TaskAction:
        """Return the action of a task whose key is unknown."""
        blocked = item.unknown
        if earlier is not None:
            return self._earlier(answer, earlier, blocked)
        never = blocked.code in INVALID_SOURCES
        return answer.wait(blocked, phase=TaskPhase.FAILED if never else TaskPhase.WAITING)

    def _cancelled(
        self, answer: TaskActionBuilder, item: ResolvedObject, earlier: Run | None, *, shadow: bool
    ) -> TaskAction | None:
        """End the run that a user has cancelled, if any."""
        own = self.live.of_slot(self._name(item.ref, answer.task)) if answer.task.key else ()
        for run in (*own, *([earlier] if earlier is not None else [])):
            if is_cancelled(run, item):
                if not shadow and not run.deleting:
                    self.endings.append(cancel(run))
                return answer.lost([run]) or answer.wait(Reason.of(ReasonCode.SUSPENDED))
        return None

    def _live(self, answer: TaskActionBuilder, run: Run, *, shadow: bool) -> TaskAction:
        task = answer.task
        if run.deleting:
            reason = Reason.of(ReasonCode.TERMINATING)
            return answer.lost([run]) or answer.create(reason, run=run)
        changed = run.execution_hash != task.execution_hash
        # Settings of a manifest that is wrong now may have been others than those on record.
        known = answer.ref not in self.inputs.invalid
        if changed and known and run.phase is RunPhase.PENDING:
            if not shadow:
                reason = Reason.of(ReasonCode.EXECUTION_CHANGED_BEFORE_START)
                self.endings.append(RunDeletion(run=run, action=ActionKind.CANCEL, reason=reason))
            return answer.create(Reason.of(ReasonCode.PENDING_RUN_REPLACED), run=run)
        running = run.phase is RunPhase.RUNNING
        phase = TaskPhase.RUNNING if running else TaskPhase.PENDING
        if run.lost:
            phase = TaskPhase.WAITING
        code = ReasonCode.RUNNING if running else ReasonCode.RUN_PENDING
        reason = run.reason or Reason.of(code)
        told = reason.code is ReasonCode.EXECUTION_CHANGED  # by the daemon, and recorded
        if changed and not told:
            reason = Reason.of(ReasonCode.EXECUTION_CHANGED, cause=reason)
        return answer.keep(phase, reason, run=run)

    def _earlier(self, answer: TaskActionBuilder, run: Run, then: Reason) -> TaskAction:
        """Return the action while a run of an earlier key goes on."""
        if answer.ref in self.holds:
            return answer.hold(self.holds[answer.ref], run=run)
        reason = Reason.of(ReasonCode.EARLIER_RUN_GOES_ON, key=run.key[:12], then=then)
        return answer.lost([run]) or answer.keep(TaskPhase.RUNNING, reason, run=run)

    def _failed(self, answer: TaskActionBuilder) -> TaskAction | None:
        task = answer.task
        assert task.key is not None  # tasks without a key wait
        failure = self.inputs.ledger.failure(task.key, task.execution_hash)
        if failure is None:
            return None
        if failure.remembered:
            return answer.wait(failure.reason, phase=TaskPhase.FAILED)
        at = failure.retry_at(self.inputs.now)
        if self.inputs.now < at:
            if failure.kind is FailureClass.UNAVAILABLE:
                return answer.wait(failure.reason, retry_at=at)
            reason = Reason.of(
                ReasonCode.RETRY_BACK_OFF, cause=failure.reason, at=at, count=failure.count
            )
            return answer.wait(reason, retry_at=at)
        return None

    def _blocked(self, answer: TaskActionBuilder, item: ResolvedObject) -> TaskAction | None:
        """Return the wait of a task that complete needs do not start."""
        task, inputs = answer.task, self.inputs
        if item.manifest.document.spec.suspend:
            return answer.wait(Reason.of(ReasonCode.SUSPENDED))
        if item.ref in self.holds:
            return answer.hold(self.holds[item.ref])
        if upstream := self._upstream(task):
            return answer.wait(upstream)
        if task.halted is not None:
            return answer.wait(task.halted)
        capacity, image = inputs.capacity, task.image
        if image is not None:
            images = inputs.settings.allow_images
            if image.cluster is None and not admits_image(image.at, images):
                return answer.wait(Reason.of(ReasonCode.IMAGE_NOT_ALLOWED, image=image.at))
            if not capacity.containers:
                return answer.wait(Reason.of(ReasonCode.CONTAINER_RUNTIME_MISSING))
        gpus = task.resources.gpus
        if capacity.gpus is not None and gpus > capacity.gpus:
            return answer.wait(
                Reason.of(ReasonCode.INSUFFICIENT_GPUS, gpus=gpus, available=capacity.gpus)
            )
        reported = self._reported(task, TaskPhase.WAITING)
        return answer.wait(reported) if reported is not None else None

    def _upstream(self, task: Task) -> Reason | None:
        """Return the reason if an input cannot be had, or was rejected."""
        for need in self.wanted.needs(task):
            if need in self.stuck:
                return self.stuck[need]
            if need in self.inputs.ledger.restoring:  # it is pinned, and no task makes it
                return self.inputs.ledger.restoring_reason(need)
        for ref, judgement in self.wanted.unaccepted(task):
            if judgement.rejected:
                key = (self.inputs.desired[ref].key or "")[:12]
                return Reason.of(ReasonCode.BASE_REJECTED, object=ref, key=key)
        return None

    def _reported(self, task: Task, phase: TaskPhase) -> Reason | None:
        """Return the reason of a task that is recorded in this phase."""
        assert task.key is not None  # tasks without a key wait
        found = self.inputs.reported.get((task.key, task.execution_hash))
        return found.reason if found is not None and found.phase is phase else None

    def _start(
        self,
        answer: TaskActionBuilder,
        item: ResolvedObject,
        superseded: list[Run],
        *,
        shadow: bool,
    ) -> TaskAction:
        task, inputs = answer.task, self.inputs
        needs = tuple(key for key in self.wanted.needs(task) if not self.wanted.is_complete(key))
        if needs:
            return answer.create(self._waiting(item.ref, task, needs), needs=needs)
        for ref, _ in self.wanted.unaccepted(task):  # an evaluation whose key is not known yet
            key = (inputs.desired[ref].key or "")[:12]
            return answer.wait(Reason.of(ReasonCode.BASE_NOT_ACCEPTED, object=ref, key=key))
        if superseded:
            reason = Reason.of(ReasonCode.WAITING_FOR_SUPERSEDED_RUN)
            return answer.lost(superseded) or answer.create(reason)
        stale = inputs.runs.get(self._name(item.ref, task))
        if stale is not None:
            if not shadow:
                again = stale.phase is RunPhase.FAILED
                code = ReasonCode.FAILED_RUN_RETRIED if again else ReasonCode.RESULT_LOST
                reason = Reason.of(code)
                self.endings.append(RunDeletion(run=stale, action=ActionKind.KEEP, reason=reason))
            return answer.create(Reason.of(ReasonCode.FAILED_RUN_CLEARED))
        limit = self.live.limit(item.ref, task) or self._reported(task, TaskPhase.PENDING)
        if limit is not None:
            return answer.create(limit)
        if shadow:
            return answer.create(_STARTING)
        self.live.add(item.ref, task)
        spec = render_run(
            item,
            task,
            settings=inputs.settings,
            head=inputs.head,
            image=image_of(self.inputs.ledger, task),
            mounts=mounts_of(self.inputs.ledger, task),
        )
        assert task.key is not None  # tasks without a key wait
        failure = inputs.ledger.failure(task.key, task.execution_hash)
        if failure is not None and failure.kind is FailureClass.UNAVAILABLE:
            # Refused so far, and perhaps again: that is said until a run is there.
            return answer.create(failure.reason, phase=TaskPhase.WAITING, spec=spec)
        return answer.create(_STARTING, spec=spec)

    def _waiting(self, ref: ObjectRef, task: Task, keys: tuple[TaskKey, ...]) -> Reason:
        """Name the tasks that must be complete first.

        The code is that of the first of them.

        An object's own tasks are named by their kind, those of others by their object.
        """
        mine = {each.key: each for each in self.objects[ref].tasks}
        needs: list[ObjectRef | TaskKind | str] = []
        kinds: list[TaskKind | None] = []
        for key in keys:
            owner, made_by = self.wanted.producers[key]
            shared = owner.namespace == ref.namespace and made_by.kind is TaskKind.BUILD
            own = owner == ref or shared
            label = f"its {mine[key].label}" if key in mine and mine[key].for_evaluation else None
            needs.append((label or made_by.kind) if own else owner)
            kinds.append(made_by.kind if own else None)
        first, key = kinds[0], keys[0]
        if first is TaskKind.BUILD:
            code = ReasonCode.WAITING_FOR_BUILD
        elif first is TaskKind.LOAD:
            code = ReasonCode.WAITING_FOR_LOAD
        elif key == task.dataset:
            code = ReasonCode.WAITING_FOR_DATASET
        elif self.wanted.producers[key][1].kind is TaskKind.EVALUATE:
            code = ReasonCode.WAITING_FOR_EVALUATION
        else:
            code = ReasonCode.WAITING_FOR_BASE
        return Reason.of(code, needs=tuple(needs))

    def _name(self, ref: ObjectRef, task: Task) -> str:
        assert task.key is not None  # tasks without a key wait
        return run_name(
            instance=self.inputs.settings.instance,
            namespace=ref.namespace,
            ref=None if task.kind is TaskKind.BUILD else ref,
            task=task.kind,
            key=task.key,
            execution_hash=task.execution_hash,
        )


_COMPLETE = Reason.of(ReasonCode.COMPLETE)
_STARTING = Reason.of(ReasonCode.STARTING)
#: Phases of a task in which the tasks that need it cannot start.
_STUCK = frozenset({TaskPhase.WAITING, TaskPhase.HELD, TaskPhase.FAILED})
