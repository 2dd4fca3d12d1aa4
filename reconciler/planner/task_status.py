"""The next status of one task. Pure.

It follows from the last one, the run and the action.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from reconciler.codec import whole_seconds
from reconciler.engine import FailureClass, Run
from reconciler.planner.object_status import ObjectStatus, TaskStatus
from reconciler.planner.phases import DONE_TASKS, TaskPhase
from reconciler.planner.plan import HoldKind, Plan, TaskAction
from reconciler.planner.tasks import Task
from reconciler.reasons import message
from reconciler.types import Resources, TaskKey


@dataclass(frozen=True, slots=True)
class TaskUpdate:
    """The update of the tasks of one object.

    ``ended`` are the ended runs of each key.
    """

    plan: Plan
    before: ObjectStatus
    ended: Mapping[TaskKey, Sequence[Run]]

    def status(self, decision: TaskAction) -> TaskStatus:
        """Return a task's next status."""
        task = decision.task
        before = self._task_before(decision)
        run = decision.run
        if run is None and task.key is not None:
            runs = self.ended.get(task.key, ())
            run = next((r for r in runs if r.execution_hash == task.execution_hash), None)
        failure = (
            self.plan.inputs.ledger.failure(task.key, task.execution_hash)
            if task.key is not None
            else None
        )
        if failure is not None and failure.kind is FailureClass.UNAVAILABLE:
            failure = None  # nothing has happened that a later daemon must know of
        if run is None:
            run_part = before
        else:
            run_part = TaskStatus(
                task=task.kind,
                phase=decision.phase,
                job=run.name,
                run_key=run.key if run.key != task.key else None,
                attempts=max(run.attempts, before.attempts),
                started=None if run.suspended else whole_seconds(run.started) or before.started,
                finished=whole_seconds(run.finished),
                log=run.log or before.log,
            )
        if decision.spec is not None:
            run_part = replace(run_part, job=decision.spec.name)
        run_part = replace(run_part, resources=self._resources(run_part.job, task))
        reason = None if decision.phase in DONE_TASKS else decision.reason
        if failure is not None and decision.phase is TaskPhase.WAITING:
            # The failure's own, which a later daemon reads as that; it adds by itself what is next.
            reason = failure.reason
        started, finished = run_part.started, failure.at if failure else run_part.finished
        if started is not None and finished is not None:
            finished = max(started, finished)  # the clock was set back meanwhile
        return replace(
            run_part,
            task=task.kind,
            for_evaluation=task.for_evaluation,
            key=task.key,
            # A run that goes on under its old execution hash is found again by it.
            execution_hash=decision.run.execution_hash if decision.run else task.execution_hash,
            request_hash=task.request_hash,
            phase=decision.phase,
            failures=failure.count if failure else 0,
            failure=failure.kind if failure else None,
            released=self._released(decision, before),
            finished=finished,
            reason=reason.code.value if reason is not None else "",
            message=message(reason) if reason is not None else "",
        )

    def _released(self, decision: TaskAction, before: TaskStatus) -> str | None:
        """Return the released hold of a task's budget.

        It lasts until the task is done, and for the execution that was held.
        """
        if decision.phase in DONE_TASKS:
            return None
        if before.released is not None and before.execution_hash == decision.task.execution_hash:
            return before.released
        for hold in self.plan.released:
            if hold.kind is HoldKind.BUDGET and self.before.ref in hold.objects:
                return hold.id
        return None

    def _resources(self, job: str | None, task: Task) -> Resources | None:
        """Return the resources of a task's run.

        None where it asked for none.
        """
        for known in self.before.tasks if job is not None else ():
            if known.job == job:
                return known.resources
        return task.resources if job is not None and task.resources != Resources() else None

    def _task_before(self, decision: TaskAction) -> TaskStatus:
        for task in self.before.tasks:
            if task.task is decision.task.kind and task.key == decision.task.key is not None:
                return task
        return TaskStatus(task=decision.task.kind, phase=decision.phase)
