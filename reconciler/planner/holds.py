"""Holds: a sync above a limit waits until a user releases it.

A hold's id is a hash of exactly the actions it holds, and those are a function of the manifests
and of what is recorded in Git alone: the plan of a pull request shows the id that the daemon
will use, and a crash between two creations does not change it. Once a set has been accepted its
tasks are recorded, so it is not held again while it is being worked off.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping

from reconciler.planner.object_status import ObjectStatus, TaskPhase
from reconciler.planner.plan import Hold, HoldKind, PlannerConfig
from reconciler.planner.tasks import ResolvedObject, Task
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import ExecutionHash, ObjectRef, TaskKey

RELEASE_FILE = ".reconciler/release"


def read_release(data: bytes | None) -> frozenset[str]:
    """Return the ids in a release file.

    An id is the first word of a line; ``#`` begins a comment.
    """
    if data is None:
        return frozenset()
    lines = (
        line.partition("#")[0].split() for line in data.decode("utf-8-sig", "replace").splitlines()
    )
    return frozenset(words[0] for words in lines if words)


def hold_id(actions: Iterable[str]) -> str:
    """12 hex digits over the sorted actions."""
    return hashlib.sha256("\n".join(sorted(actions)).encode()).hexdigest()[:12]


def unused_id(identifier: str, releases: Container[str]) -> str:
    """The id of a hold, another one if it was released before.

    A line in the release file releases once: it stands there when the same actions come again.
    """
    while identifier in releases:
        identifier = hold_id([identifier])
    return identifier


def guard(
    desired: Mapping[ObjectRef, ResolvedObject],
    records: Mapping[ObjectRef, ObjectStatus],
    wanted: frozenset[TaskKey],
    lost: Container[TaskKey],
    settings: PlannerConfig,
) -> Hold | None:
    """Return a hold if a plan would make more than ``guard`` allows.

    Its tasks are those of artifacts that are made again: of objects that have one, or whose one is
    ``lost``. Its GPUs are also those of new objects: the next typing error may be their count.
    """
    again: dict[tuple[str, TaskKey], Task] = {}
    new: dict[tuple[str, TaskKey], Task] = {}
    objects: dict[ObjectRef, bool] = {}
    for ref, item in desired.items():
        if item.manifest.document.spec.suspend:
            continue
        record = records.get(ref)
        has_artifact = record is not None and (record.artifact is not None or item.key in lost)
        accepted = _accepted(record) if record is not None else frozenset()
        for task in item.tasks:
            if task.key is None or task.key not in wanted:
                continue
            # More GPUs for the same key are another execution, which nobody has accepted.
            gpus = task.resources.gpus
            if (task.key, task.execution_hash if gpus else None) in accepted:
                continue
            if has_artifact or gpus:
                counted, slot = again if has_artifact else new, (ref.namespace, task.key)
                known = counted.get(slot)
                if known is None or known.resources.gpus < gpus:
                    counted[slot] = task
                objects[ref] = has_artifact
    held = again | new
    gpus = sum(task.resources.gpus for task in held.values())
    if gpus <= settings.guard_gpus:
        held, gpus = again, sum(task.resources.gpus for task in again.values())
        if len(again) <= settings.guard_tasks:
            return None
        objects = {ref: has_artifact for ref, has_artifact in objects.items() if has_artifact}
    return Hold(
        id=hold_id(
            f"create {namespace} {key} {task.resources.gpus}"
            for (namespace, key), task in held.items()
        ),
        kind=HoldKind.GUARD,
        objects=frozenset(objects),
        tasks=len(held),
        gpus=gpus,
        reason=Reason.of(
            ReasonCode.RECOMPUTE_TOO_LARGE,
            tasks=len(held),
            gpus=gpus,
            objects=len(objects),
            existing=sum(objects.values()),
            guard_tasks=settings.guard_tasks,
            guard_gpus=settings.guard_gpus,
        ),
    )


def _accepted(
    record: ObjectStatus,
) -> frozenset[tuple[TaskKey | None, ExecutionHash | None]]:
    """The accepted tasks of earlier syncs, by key and execution.

    Each stands there a second time without its execution, for tasks without GPUs. What is wanted
    although it is recorded as complete was lost. A suspended object's tasks wait without having
    been counted.
    """
    passed = [
        task
        for task in record.tasks
        if task.phase not in (TaskPhase.HELD, TaskPhase.SUCCEEDED)
        and task.reason != ReasonCode.SUSPENDED.value
    ]
    return frozenset(
        (task.key, execution) for task in passed for execution in (task.execution_hash, None)
    )
