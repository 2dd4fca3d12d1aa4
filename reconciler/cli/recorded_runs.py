"""Runs and tasks of the status branch, for plans without an engine."""

from __future__ import annotations

from datetime import datetime

from reconciler.engine import Capacity, Run, RunPhase
from reconciler.planner import ReportedTask, ReportedTasks, TaskPhase, TaskStatus
from reconciler.reasons import AFTER_A_RUN, FROM_GIT, SILENT_RUNS, WITHOUT_RUN, Reason, ReasonCode
from reconciler.status import BelievedBranch
from reconciler.types import ObjectRef, RequestHash, TaskKind
from reconciler.workspace import PlanState


def recorded_plan_state(state: BelievedBranch, *, capacity: Capacity, now: datetime) -> PlanState:
    """Return the recorded state, for a plan without an engine."""
    return PlanState(
        records=state.records,
        ledger=state.ledger,
        runs=recorded_runs(state),
        reported=recorded_reasons(state),
        capacity=capacity,
        now=now,
    )


def recorded_runs(state: BelievedBranch) -> dict[str, Run]:
    """The runs that were live when the branch was last written."""
    runs: dict[str, Run] = {}
    for record in state.records.values():
        for task in record.tasks:
            run = _run(record.ref, task)
            # Of a shared build the object that has it says more than the others.
            if run is not None and (task.reason != ReasonCode.SHARED or run.name not in runs):
                runs[run.name] = run
    return runs


def recorded_reasons(state: BelievedBranch) -> ReportedTasks:
    """The tasks whose reason only the daemon and its engine know."""
    return {
        (task.key, task.execution_hash): ReportedTask(task.phase, reason)
        for record in state.records.values()
        for task in record.tasks
        if task.key is not None and task.execution_hash is not None
        if (reason := _reported(task)) is not None
    }


def _reported(task: TaskStatus) -> Reason | None:
    waits = task.phase is TaskPhase.WAITING and task.failure is None
    starts = task.phase is TaskPhase.PENDING and task.reason in AFTER_A_RUN
    goes_on = task.phase is TaskPhase.RUNNING and task.reason == ReasonCode.EARLIER_RUN_GOES_ON
    if starts or goes_on or (waits and task.reason not in FROM_GIT):
        return Reason.read(task.reason, task.message)
    return None


def _run(ref: ObjectRef, task: TaskStatus) -> Run | None:
    """Return the live run of a recorded task, with its reason."""
    # Until a hold is released, a run of an earlier key goes on. Of one that is to be ended then, no
    # request is wanted any more.
    held = task.phase is TaskPhase.HELD and task.run_key is not None
    superseded = held and task.reason == ReasonCode.HELD_BY_RUNNING
    started = task.phase is TaskPhase.RUNNING or held
    lost = task.phase is TaskPhase.WAITING and task.reason in SILENT_RUNS
    if not (started or lost or task.phase is TaskPhase.PENDING) or task.reason in WITHOUT_RUN:
        return None
    if not (task.job and task.key and task.execution_hash and task.request_hash):
        return None
    plain = held or task.reason in ("", ReasonCode.RUNNING, ReasonCode.SHARED)
    return Run(
        name=task.job,
        task=task.task,
        key=task.run_key if held and task.run_key is not None else task.key,
        execution_hash=task.execution_hash,
        request_hash=RequestHash(task.run_key)
        if superseded and task.run_key
        else task.request_hash,
        object=None if task.task is TaskKind.BUILD else ref,
        phase=RunPhase.RUNNING if started or lost else RunPhase.PENDING,
        attempts=task.attempts,
        started=task.started,
        reason=None if plain else Reason.read(task.reason, task.message),
        lost=lost,
        namespace=ref.namespace,
    )
