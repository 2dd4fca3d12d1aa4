"""Lineage: the origin of an artifact, in ``completed.json``.

Each class is the format of one of its objects. What is not there for a task is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.codec import Codec
from reconciler.planner.tasks import ExternalArtifact, ResolvedObject, Task
from reconciler.types import JSON, Commit, Kind, TaskKey, TaskKind, TreeId


@dataclass(frozen=True, slots=True, kw_only=True)
class _Object:
    """The object that an artifact is of."""

    cluster: str
    kind: Kind
    namespace: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """The source that an image was built from."""

    url: str
    commit: Commit
    tree: TreeId


@dataclass(frozen=True, slots=True, kw_only=True)
class _Input:
    """An artifact that the task reads.

    ``cluster`` is another one that made it.
    """

    key: TaskKey
    url: str
    cluster: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lineage:
    """Everything that an artifact was made from."""

    object: _Object
    task: TaskKind
    commit: Commit
    image: str | None
    source: _Source | None
    base: _Input | None
    dataset: _Input | None
    artifact: _Input | None


_LINEAGE = Codec(_Lineage, omit="none")


def lineage_of(
    desired: ResolvedObject,
    task: Task,
    *,
    cluster: str,
    head: Commit,
    image: str | None,
    mounts: Mapping[TaskKey, ExternalArtifact],
) -> dict[str, JSON]:
    """Return the lineage of a task's artifact, at a head."""
    ref, source = desired.ref, task.source
    return _LINEAGE.dump(
        _Lineage(
            object=_Object(cluster=cluster, kind=ref.kind, namespace=ref.namespace, name=ref.name),
            task=task.kind,
            commit=head,
            image=image,
            source=_Source(
                url=source.request.url or ".",
                commit=source.resolved.commit,
                tree=source.resolved.tree,
            )
            if source is not None
            else None,
            base=_input(task.base, mounts),
            dataset=_input(task.dataset, mounts),
            artifact=_input(task.artifact, mounts),
        )
    )


def _input(key: TaskKey | None, mounts: Mapping[TaskKey, ExternalArtifact]) -> _Input | None:
    if key is None:
        return None
    return _Input(key=key, url=mounts[key].at, cluster=mounts[key].cluster)
