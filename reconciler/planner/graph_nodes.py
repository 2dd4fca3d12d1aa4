"""The nodes of a task graph: image, artifacts and tasks. Pure."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass

from reconciler.manifests import (
    RETRY_ANNOTATION,
    CommandSection,
    Manifest,
    ModelSpec,
    RunSection,
)
from reconciler.planner.keys import (
    as_key,
    as_request_hash,
    build_key,
    hash_execution,
    tenant_build_key,
)
from reconciler.planner.tasks import (
    ExternalArtifact,
    PlannedArtifact,
    ResolvedObject,
    ResolvedReference,
    Source,
    Task,
    annotation,
)
from reconciler.types import JSON, ExecutionHash, Hash, ObjectRef, TaskKey, TaskKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """The image that an object's commands run in, and its origin.

    ``made_by`` is the key of the build that makes it.
    """

    key: Hash
    made_by: TaskKey | None = None
    request_hash: Hash
    external: ExternalArtifact | None = None
    build: Task | None = None
    source: Source | None = None
    base: ResolvedReference | None = None

    @property
    def sources(self) -> tuple[Source, ...]:
        """The source of an object's own image."""
        return (self.source,) if self.source is not None else ()

    @property
    def base_artifact(self) -> PlannedArtifact | None:
        """The base's artifact, as a training reads it."""
        return self.base.artifact if self.base is not None else None

    def gates(self, base: PlannedArtifact | None) -> tuple[ObjectRef, ...]:
        """The gates of a base that is the base model's artifact."""
        return self.base.gates if self.base is not None and base is self.base.artifact else ()

    def desired(
        self,
        manifest: Manifest,
        artifact: PlannedArtifact | None,
        before: PlannedArtifact | None = None,
    ) -> ResolvedObject:
        """Return the object whose artifact this is."""
        return ResolvedObject(
            manifest=manifest,
            tasks=tasks(self, before, artifact),
            key=artifact.key if artifact else None,
            request_hash=artifact.request_hash if artifact else None,
            image_key=self.key,
            image_build=self.made_by,
            image_request_hash=self.request_hash,
            image=self.external,
            external=artifact.external if artifact else None,
            sources=self.sources,
        )


def made_task(
    kind: TaskKind,
    manifest: Manifest,
    section: CommandSection,
    image: Image,
    hashed: Callable[[Hash, Hash | None, Hash | None], Hash],
    *,
    base: PlannedArtifact | None,
    data: PlannedArtifact | None = None,
) -> PlannedArtifact:
    """Build the artifact of a command in an image, from its inputs.

    Its key and its request hash are the same hash, over keys and over request hashes; where
    nothing upstream is followed, they are equal.
    """
    keys = image.key, base.key if base else None, data.key if data else None
    request_hashes = (
        image.request_hash,
        base.request_hash if base else None,
        data.request_hash if data else None,
    )
    key = as_key(hashed(*keys))
    request_hash = as_request_hash(key if request_hashes == keys else hashed(*request_hashes))
    task = Task(
        kind=kind,
        key=key,
        execution_hash=execution_hash_of(manifest, section),
        request_hash=request_hash,
        section=section,
        image_key=image.key,
        image_build=image.made_by,
        image=image.external,
        source=image.source,
        base=base.key if base else None,
        dataset=data.key if data else None,
        gates=image.gates(base),
        needs=needs(image, base, data),
        external=external_artifacts(base, data),
    )
    return PlannedArtifact(key=key, request_hash=request_hash, task=task)


def built(manifest: Manifest, source: Source, *, tenant: str | None) -> Image:
    """Return the image of an object's own build, by its tenant."""
    section = manifest.document.spec.build
    asked: JSON = source.resolved.tree
    if source.git.follow:
        # A request hash has what was asked for: the branch, wherever it stands.
        asked = {
            "url": source.request.url,
            "path": source.request.path,
            "branch": source.request.branch,
            "tag": source.request.tag,
        }
    key = build_key(tree=source.resolved.tree, git=source.git, section=section)
    request_hash = build_key(tree=asked, git=source.git, section=section)
    made_by = as_key(tenant_build_key(key, tenant))
    task = Task(
        kind=TaskKind.BUILD,
        key=made_by,
        execution_hash=execution_hash_of(manifest, section),
        request_hash=as_request_hash(tenant_build_key(request_hash, tenant)),
        section=section,
        image_key=key,
        image_build=made_by,
        source=source,
    )
    return Image(key=key, made_by=made_by, request_hash=request_hash, build=task, source=source)


def tasks(image: Image, *artifacts: PlannedArtifact | None) -> tuple[Task, ...]:
    """The tasks that make an image and artifacts, in execution order."""
    found = [image.build, *(artifact.task for artifact in artifacts if artifact)]
    return tuple(task for task in found if task is not None)


def needs(image: Image, *artifacts: PlannedArtifact | None) -> tuple[TaskKey, ...]:
    """Return the keys that must be complete before a task starts.

    They are of its image, if that is built, and of the artifacts that it reads.
    """
    made = [image.made_by or as_key(image.key)] if image.external is None else []
    made += [read.key for read in artifacts if read is not None and read.external is None]
    return tuple(dict.fromkeys(made))


def external_artifacts(*artifacts: PlannedArtifact | None) -> dict[TaskKey, ExternalArtifact]:
    """The locations of external artifacts, by key."""
    return {read.key: read.external for read in artifacts if read is not None and read.external}


def unknown(manifest: Manifest, known: Container[TaskKind]) -> tuple[Task, ...]:
    """Return an object's tasks with unknown keys, in execution order."""
    spec = manifest.document.spec
    training = spec.training if isinstance(spec, ModelSpec) else None
    based = isinstance(spec, ModelSpec) and spec.source.model is not None
    promoted = based and not spec.load.command and training is None
    made_by_load = training is None or (training.mode == "Finetune" and not based)
    sections: tuple[tuple[TaskKind, RunSection | None], ...] = (
        (TaskKind.BUILD, spec.build if spec.source.git is not None else None),
        (
            TaskKind.LOAD,
            spec.load if made_by_load and not promoted and not spec.load.from_ else None,
        ),
        (TaskKind.TRAIN, training),
    )
    return tuple(
        unknown_task(manifest, kind, section)
        for kind, section in sections
        if section is not None and kind not in known
    )


def unknown_task(manifest: Manifest, kind: TaskKind, section: RunSection) -> Task:
    """Return a task of an object with an unknown key."""
    return Task(
        kind=kind,
        key=None,
        execution_hash=execution_hash_of(manifest, section),
        request_hash=None,
        section=section,
        image_key=None,
    )


def execution_hash_of(manifest: Manifest, section: RunSection) -> ExecutionHash:
    """Return the execution hash of an object's task."""
    return hash_execution(section, retry=annotation(manifest, RETRY_ANNOTATION))
