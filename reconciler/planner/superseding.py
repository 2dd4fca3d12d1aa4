"""Superseding of live runs by tasks with a new key. Pure.

A run with another request hash is cancelled, and the new run waits until it has ended. A run with
the same one, only of newer inputs that are followed, goes on to its end before the next one starts,
if its command has started: a branch that moves faster than a training runs would else never leave a
model.

While a manifest is wrong, its object and all that is made from it are as recorded last. A daemon
that ended before its last push may have known a newer form: so a run that no record names is left
alone until then.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC

from reconciler.engine import Run, RunPhase
from reconciler.manifests import CANCEL_ANNOTATION
from reconciler.planner.plan import ActionKind, PlanInput, RunDeletion
from reconciler.planner.tasks import ResolvedObject, Task
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import ObjectRef, TaskKind


def superseded_runs(live: Iterable[Run], task: Task) -> list[Run]:
    """The live runs of an object's task that have another key.

    None of a build: several objects share it, and :mod:`reconciler.planner.prune` ends it.
    """
    return [run for run in live if task.kind is not TaskKind.BUILD and run.key != task.key]


def cancellations(superseded: Iterable[Run], task: Task, inputs: PlanInput) -> list[RunDeletion]:
    """Cancel superseded runs with another request hash, or that have not started.

    None while the task's key is unknown: nothing is then known to have superseded them.
    """
    if task.key is None:
        return []
    reason = Reason.of(ReasonCode.SUPERSEDED, key=task.key[:12])
    return [
        RunDeletion(run=run, action=ActionKind.CANCEL, reason=reason)
        for run in superseded
        if not run.deleting and not goes_on(run, task) and not is_unexplained(run, inputs)
    ]


def is_unexplained(run: Run, inputs: PlanInput) -> bool:
    """Return whether a run may be of an unknown manifest.

    That is one of its object, or of what that is made from.
    """
    if not inputs.invalid or run.object is None:
        return False
    record = inputs.records.get(run.object)
    if record is not None and any(task.job == run.name for task in record.tasks):
        return False
    return not inputs.invalid.keys().isdisjoint(_made_from(run.object, inputs))


def _made_from(ref: ObjectRef, inputs: PlanInput) -> set[ObjectRef]:
    """Return an object and all that it is made from."""
    found, waiting = {ref}, [ref]
    while waiting:
        item = inputs.desired.get(waiting.pop())
        for target, _, _ in item.manifest.references if item is not None else ():
            if isinstance(target, ObjectRef) and target not in found:
                found.add(target)
                waiting.append(target)
    return found


def is_cancelled(run: Run, item: ResolvedObject) -> bool:
    """Return whether a user has cancelled the object's run.

    The annotation substratus.ai/cancel ends what was created up to its time while the object is
    suspended. A build is not ended: several objects may share it.
    """
    document = item.manifest.document
    until = document.metadata.annotations.get(CANCEL_ANNOTATION)
    begun = run.created or run.started
    if until is None or begun is None or not document.spec.suspend:
        return False
    return run.object is not None and f"{begun.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" <= until


def cancel(run: Run) -> RunDeletion:
    """Return the deletion of a run that a user has cancelled."""
    reason = Reason.of(ReasonCode.CANCELLED)
    return RunDeletion(run=run, action=ActionKind.CANCEL, reason=reason)


def goes_on(run: Run, task: Task) -> bool:
    """Return whether a superseded run goes on to its end."""
    if run.deleting or run.phase is not RunPhase.RUNNING:
        return False
    return task.key is None or run.request_hash == task.request_hash
