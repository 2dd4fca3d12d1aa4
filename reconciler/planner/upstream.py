"""What tasks get from other objects: given artifacts, and builds that several share. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.planner.desired import Desired, Task
from reconciler.types import ObjectRef, TaskKey, TaskKind


def given_artifacts(desired: Mapping[ObjectRef, Desired]) -> dict[TaskKey, str]:
    """The URLs of the artifacts that manifests say are there already."""
    given: dict[TaskKey, str] = {}
    for item in desired.values():
        if item.given is not None and item.key is not None:
            given[item.key] = item.given
        if item.given_base is not None:
            for task in item.tasks:
                if task.base is not None:
                    given[task.base] = item.given_base
    return given


def build_owners(
    desired: Mapping[ObjectRef, Desired],
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


def _suspended(item: Desired) -> bool:
    return item.manifest.document.spec.suspend
