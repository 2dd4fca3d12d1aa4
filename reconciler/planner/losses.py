"""Artifacts that a plan relies on, and those found lost. Pure.

The ledger says that an artifact is complete, and the bucket may have lost it since.
"""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.engine import Wanted
from reconciler.planner.ledger import Ledger
from reconciler.planner.plan import Plan, TaskAction
from reconciler.reasons import ReasonCode
from reconciler.types import TaskKey, TaskKind


def artifacts_in_use(plan: Plan, *, all_current: bool) -> list[Wanted]:
    """List the complete artifacts that a plan is about to use.

    These are the inputs of new runs, and artifacts that become current: after a revert, say. With
    ``all_current`` those that are current already are listed too.
    """
    inputs = plan.inputs
    found: dict[TaskKey, Wanted] = {}
    for spec in plan.creates():
        for mounted in (spec.base, spec.dataset, spec.artifact):
            if mounted is not None and mounted.key in inputs.ledger.completed:
                found[mounted.key] = Wanted(TaskKind.TRAIN, mounted.key, mounted.url)
    for ref, item in inputs.desired.items() if all_current else plan.compared():
        record = inputs.records.get(ref)
        before = {v.key for v in record.variants if v.artifact} if record is not None else set()
        if record is not None and record.artifact is not None:
            before.add(record.artifact.key)
        for key in dict.fromkeys([item.key, *(variant.task.key for variant in item.variants)]):
            complete = inputs.ledger.result(key)
            if key is None or item.external is not None or complete is None:
                continue
            if all_current or key not in before:
                found[key] = Wanted(complete.task, key, complete.result.url)
    return list(found.values())


def reported_losses(plan: Plan) -> set[TaskKey]:
    """Return the complete keys that their consumers' runs found lost since."""
    ledger = plan.inputs.ledger
    return {
        key
        for actions in plan.decided.values()
        for action in actions
        for key in _reported(action, ledger)
    }


def _reported(action: TaskAction, ledger: Ledger) -> Iterator[TaskKey]:
    task = action.task
    failure = ledger.failure(task.key, task.execution_hash) if task.key is not None else None
    if failure is None or failure.reason.code is not ReasonCode.ARTIFACT_LOST:
        return
    inputs = {"base": task.base, "dataset": task.dataset, "model": task.artifact}
    named = failure.reason.arguments.get("input")
    # A status file does not say which input it was: read back, only an only one is known.
    keys = [inputs[named]] if isinstance(named, str) and named in inputs else inputs.values()
    suspects = [key for key in keys if key is not None and key not in task.external]
    for key in suspects if len(suspects) == 1 else ():
        complete = ledger.result(key)
        if complete is not None and complete.before(failure):
            yield key
