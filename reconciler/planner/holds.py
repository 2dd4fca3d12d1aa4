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
from reconciler.types import ObjectRef, TaskKey

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


def guard(
    desired: Mapping[ObjectRef, ResolvedObject],
    records: Mapping[ObjectRef, ObjectStatus],
    wanted: frozenset[TaskKey],
    lost: Container[TaskKey],
    settings: PlannerConfig,
) -> Hold | None:
    """Return a hold if more existing artifacts are recomputed than ``guard`` allows.

    Those that are ``lost`` count as existing.
    """
    again: dict[tuple[str, TaskKey], Task] = {}
    objects: set[ObjectRef] = set()
    for ref, item in desired.items():
        record = records.get(ref)
        if record is None or item.manifest.document.spec.suspend:
            continue
        if record.artifact is None and item.key not in lost:
            continue
        # What is wanted although it is recorded as complete was lost.
        unaccepted = (TaskPhase.HELD, TaskPhase.SUCCEEDED)
        accepted = {task.key for task in record.tasks if task.phase not in unaccepted}
        for task in item.tasks:
            if task.key is None or task.key not in wanted or task.key in accepted:
                continue
            again[ref.namespace, task.key] = task
            objects.add(ref)
    gpus = sum(task.resources.gpus for task in again.values())
    if len(again) <= settings.guard_tasks and gpus <= settings.guard_gpus:
        return None
    return Hold(
        id=hold_id(f"create {namespace} {key}" for namespace, key in again),
        kind=HoldKind.GUARD,
        objects=frozenset(objects),
        tasks=len(again),
        gpus=gpus,
        reason=Reason.of(
            ReasonCode.RECOMPUTE_TOO_LARGE,
            tasks=len(again),
            gpus=gpus,
            objects=len(objects),
            guard_tasks=settings.guard_tasks,
            guard_gpus=settings.guard_gpus,
        ),
    )
