"""Status files of other clusters, read as untrusted input.

Only the values that a reference needs are taken over. Each is checked against its form, and the
text is bounded in size, values and aliases as a manifest is. Fields of a newer version are passed
over. :mod:`reconciler.planner.remote_clusters` decides whether an artifact may be used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from reconciler.engine import metrics_of
from reconciler.manifests import KEY, NAME, read_documents, validate
from reconciler.planner import (
    RemoteArtifact,
    RemoteObject,
    TaskPhase,
    Unavailable,
    Verdict,
    image_name,
)
from reconciler.types import API_VERSION, ForeignRef, Kind, ObjectRef, TaskKey, TaskKind

_Name = Annotated[str, Field(pattern=NAME)]
_Key = Annotated[str, Field(pattern=KEY)]
_ImageKey = Annotated[str, Field(pattern=r"^([0-9a-f]{40}|sha256:[0-9a-f]{64})$")]
_Image = Annotated[str, Field(max_length=1024)]
_Word = Annotated[str, Field(pattern=r"^[A-Za-z]{1,40}$")]
_Url = Annotated[str, Field(max_length=2048)]


P = TypeVar("P", bound="_Part")


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, populate_by_name=False)


class _Metadata(_Part):
    name: _Name
    namespace: _Name


class _Artifact(_Part):
    url: _Url
    key: _Key
    image: _Image | None = None
    image_key: _ImageKey | None = None
    metrics: Any = None


class _Entry(_Part):
    key: _Key
    phase: _Word
    artifact: _Url | None = None
    image: _Image | None = None
    image_key: _ImageKey | None = None
    metrics: Any = None
    task: _Word | None = None
    verdict: _Word | None = None
    hidden: object = None
    collected: object = None


class _Reference(_Part):
    cluster: _Name
    kind: Kind
    namespace: _Name
    name: _Name
    key: _Key | None = None


class _Task(_Part):
    key: _Key | None = None
    run_key: _Key | None = None


class _Status(_Part):
    phase: _Word
    image: _Image | None = None
    artifact: _Artifact | None = None
    tasks: list[_Task] = Field(default_factory=list)
    references: list[_Reference] = Field(default_factory=list)
    history: list[_Entry] = Field(default_factory=list)


class _File(_Part):
    kind: Kind
    metadata: _Metadata
    status: _Status


class _Sync(_Part):
    cluster: _Name


def read_remote_object(target: ForeignRef, path: str, data: bytes) -> RemoteObject | Unavailable:
    """Read an object's file at ``path`` of another cluster's status branch."""
    file = _read(path, data, _File)
    if isinstance(file, Unavailable):
        return file
    ref = ObjectRef(file.kind, file.metadata.namespace, file.metadata.name)
    if ref != target.ref:
        return Unavailable(f"the file {path} on its status branch is about {ref}")
    status = file.status
    artifacts = {
        TaskKey(e.key): artifact for e in status.history if (artifact := _entry(e)) is not None
    }
    current = None
    if status.artifact is not None:
        found = status.artifact
        current = RemoteArtifact(
            key=TaskKey(found.key),
            url=found.url,
            image=found.image,
            image_key=found.image_key,
            metrics=metrics_of(found.metrics),
        )
        artifacts.setdefault(current.key, current)
    return RemoteObject(phase=status.phase, current=current, artifacts=artifacts)


def read_used_keys(path: str, data: bytes | None, cluster: str) -> frozenset[TaskKey] | Unavailable:
    """Return the keys of ``cluster`` in an object's file of another cluster.

    The artifact that it has now may be one of them, too. Of images it is the keys and digests of
    all that the file names and no collection took: clusters may push to one registry.
    """
    if data is None:
        return Unavailable(f"{path} on its status branch is too large")
    file = _read(path, data, _File)
    if isinstance(file, Unavailable):
        return file
    status = file.status
    used = {each.key for each in status.references if each.cluster == cluster and each.key}
    if status.artifact is not None:
        used.add(status.artifact.key)
    return frozenset(map(TaskKey, used)) | frozenset(_images(status))


def _images(status: _Status) -> Iterator[TaskKey]:
    """Yield the keys of builds, and digests of images, in a file."""
    for task in status.tasks:
        yield from (TaskKey(key) for key in (task.key, task.run_key) if key is not None)
    entries = [entry for entry in status.history if entry.collected is None]
    builds = (entry.key for entry in entries if entry.task == TaskKind.BUILD.value)
    current = status.artifact
    named = [*builds, status.image, *((current.image, current.image_key) if current else ())]
    named += [name for entry in entries for name in (entry.image, entry.image_key)]
    yield from (image_name(name) for name in named if name is not None)


def read_cluster(path: str, data: bytes) -> str | Unavailable:
    """Return the cluster of a status branch, by its ``sync.yaml``."""
    sync = _read(path, data, _Sync)
    return sync if isinstance(sync, Unavailable) else sync.cluster


def _entry(entry: _Entry) -> RemoteArtifact | None:
    """Return the artifact of a history entry.

    None for a build, an evaluation, what a gate has not accepted, and what a collection took.
    """
    if entry.phase != TaskPhase.SUCCEEDED.value or entry.artifact is None:
        return None
    if entry.hidden is not None or entry.collected is not None:
        return None
    if entry.task == TaskKind.EVALUATE.value or entry.verdict not in (None, Verdict.ACCEPTED.value):
        return None
    return RemoteArtifact(
        key=TaskKey(entry.key),
        url=entry.artifact,
        image=entry.image,
        image_key=entry.image_key,
        metrics=metrics_of(entry.metrics),
    )


def _read(path: str, data: bytes, model: type[P]) -> P | Unavailable:
    documents, problems = read_documents(data, path)
    if problems or len(documents) != 1:
        why = str(problems[0]) if problems else f"{path} holds {len(documents)} documents"
        return Unavailable(f"its status cannot be read: {why}")
    value = documents[0].value
    version = value.get("apiVersion") if isinstance(value, dict) else None
    if version != API_VERSION:
        return Unavailable(
            f"{path} on its status branch has apiVersion {version!r:.60}, and this daemon reads "
            f"{API_VERSION}"
        )
    found = validate(documents[0], model)
    if isinstance(found, list):
        return Unavailable(f"its status cannot be read: {found[0]}")
    return found
