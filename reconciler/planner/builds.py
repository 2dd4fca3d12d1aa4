"""Builds that several objects share. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.planner.tasks import ResolvedObject, Task
from reconciler.types import ObjectRef, TaskKey, TaskKind


def build_owners(
    desired: Mapping[ObjectRef, ResolvedObject],
) -> dict[tuple[str, TaskKey], tuple[ObjectRef, Task]]:
    """Who says how a shared build runs: the first object by kind and name that is not suspended.

    By namespace and key; where all of them are suspended, the first.
    """
    owners: dict[tuple[str, TaskKey], tuple[ObjectRef, Task]] = {}
    for ref in sorted(desired):
        for task in desired[ref].tasks:
            if task.kind is TaskKind.BUILD and task.key is not None:
                slot = (ref.namespace, task.key)
                first = owners.get(slot)
                if first is None or (
                    _suspended(desired[first[0]]) and not _suspended(desired[ref])
                ):
                    owners[slot] = (ref, task)
    return owners


def _suspended(item: ResolvedObject) -> bool:
    return item.manifest.document.spec.suspend
