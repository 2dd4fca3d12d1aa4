"""The task graph of one object: tasks, inputs, keys and order. Pure."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from reconciler.manifests import (
    BASE_FIELD,
    DATASET_FIELD,
    RETRY_ANNOTATION,
    BucketSection,
    CommandSection,
    DatasetManifest,
    Manifest,
    ModelManifest,
    ModelSpec,
    Path,
    RunSection,
    Tenants,
    TrainingSection,
    identity_of,
)
from reconciler.planner.keys import (
    Hash,
    as_key,
    as_request_hash,
    build_key,
    given_key,
    hash_execution,
    identity,
    load_key,
    tenant_build_key,
    train_key,
)
from reconciler.planner.references import SourceState
from reconciler.planner.tasks import (
    ExternalArtifact,
    ObservedData,
    PlannedArtifact,
    ResolvedObject,
    ResolvedReference,
    Source,
    Sweep,
    Task,
    Variant,
    annotation,
)
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import JSON, ExecutionHash, ObjectRef, TaskKey, TaskKind

#: What each reference of an object came to, by the field it is in; or why it is not known.
Found: TypeAlias = Mapping[Path, ResolvedReference | Reason]


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
            source=self.source,
        )


@dataclass(frozen=True, slots=True)
class TaskGraphBuilder:
    """Builder of the task graphs of one cluster's objects.

    ``sourcing`` is the state of their sources. Each of ``tenants`` builds for itself.
    """

    cluster: str
    sourcing: SourceState
    tenants: Tenants

    def of(self, manifest: Manifest, upstream: Found) -> ResolvedObject:
        """Build the object's tasks, with as many keys as are known.

        All but its evaluations, which :mod:`reconciler.planner.evaluation_graph` adds, and the best
        variant of a sweep, which :mod:`reconciler.planner.sweeps` chooses.
        """
        document = manifest.document
        if isinstance(document, ModelManifest):
            return self._model(manifest, document, upstream)
        return self._dataset(manifest, document)

    def _model(
        self, manifest: Manifest, document: ModelManifest, upstream: Found
    ) -> ResolvedObject:
        spec = document.spec
        image = self._image(manifest, upstream)
        if isinstance(image, Reason):
            return _blocked(manifest, image)
        if image.base is not None and not spec.load.command and spec.training is None:
            return _promoted(manifest, image)
        if spec.load.from_ is not None:
            weights = self._external(manifest, spec.load.from_)
        elif spec.training is None or (spec.training.mode == "Finetune" and image.base is None):
            weights = self._load(manifest, image)
        else:
            weights = None
        if spec.training is None:
            return image.desired(manifest, weights)
        base = weights or image.base_artifact
        return self._train(manifest, spec.training, image, base, upstream.get(DATASET_FIELD))

    def _dataset(self, manifest: Manifest, document: DatasetManifest) -> ResolvedObject:
        spec = document.spec
        if spec.source.bucket is not None:
            observed = self.sourcing.data(manifest) if manifest.observed is not None else None
            if isinstance(observed, Reason):
                return ResolvedObject(manifest=manifest, blocked=observed)
            data = self._external(manifest, spec.source.bucket, observed)
            return ResolvedObject(
                manifest=manifest,
                key=data.key,
                request_hash=data.request_hash,
                external=data.external,
                data=observed,
            )
        image = self._image(manifest, {})
        if isinstance(image, Reason):
            return _blocked(manifest, image)
        if spec.load.from_ is not None:
            data = self._external(manifest, spec.load.from_)
            return image.desired(manifest, data)
        return image.desired(manifest, self._load(manifest, image))

    def _image(self, manifest: Manifest, upstream: Found) -> Image | Reason:
        source = self.sourcing.git(manifest)
        if isinstance(source, Reason):
            return source
        if source is not None:
            tenant = self.tenants.name_of(manifest.ref.namespace)
            return built(manifest, source, tenant=tenant)
        named = manifest.document.spec.source.image
        if named is not None:
            digest = named.ref.rpartition("@")[2]
            return Image(key=digest, request_hash=digest, external=ExternalArtifact(at=named.ref))
        base = upstream[BASE_FIELD]  # exactly one source, checked when parsed
        if isinstance(base, Reason):
            return base
        if base.image_key is None or base.image_request_hash is None:
            return Reason.of(ReasonCode.REFERENCE_IMAGE_UNKNOWN, object=base.who)
        return Image(
            key=base.image_key,
            made_by=base.image_build,
            request_hash=base.image_request_hash,
            external=base.image,
            base=base,
        )

    def _load(self, manifest: Manifest, image: Image) -> PlannedArtifact:
        section = manifest.document.spec.load
        who = self._identity(manifest)

        def hashed(image: Hash, base: Hash | None, _: Hash | None) -> Hash:
            return load_key(identity=who, image=image, section=section, base=base)

        return made_task(TaskKind.LOAD, manifest, section, image, hashed, base=image.base_artifact)

    def _train(
        self,
        manifest: Manifest,
        section: TrainingSection,
        image: Image,
        base: PlannedArtifact | None,
        dataset: ResolvedReference | Reason | None,
    ) -> ResolvedObject:
        base = base if section.mode == "Finetune" else None
        if isinstance(dataset, Reason):
            return _blocked(manifest, dataset, image=image, tasks=tasks(image, base))
        data = dataset.artifact if dataset is not None else None
        who = self._identity(manifest)

        def trained(section: TrainingSection) -> PlannedArtifact:
            def hashed(image: Hash, base: Hash | None, dataset: Hash | None) -> Hash:
                return train_key(
                    identity=who, image=image, section=section, base=base, dataset=dataset
                )

            return made_task(TaskKind.TRAIN, manifest, section, image, hashed, base=base, data=data)

        if section.matrix is None:
            return image.desired(manifest, trained(section), before=base)
        variants = []
        for params in section.matrix.combinations():
            task = trained(section.with_params(params)).task
            assert task is not None  # it is made here
            variants.append(Variant(params, task))
        item = image.desired(manifest, None, before=base)
        return replace(
            item,
            tasks=(*item.tasks, *(variant.task for variant in variants)),
            sweep=Sweep(variants=tuple(variants), best=section.matrix.best),
        )

    def _external(
        self, manifest: Manifest, bucket: BucketSection, data: ObservedData | None = None
    ) -> PlannedArtifact:
        who = self._identity(manifest)
        listing = data.listing.digest if data is not None else None
        key = request_hash = given_key(identity=who, bucket=bucket, listing=listing)
        if data is not None and data.bucket.follow:
            # A request hash has what was asked for: the folder, whatever is in it.
            request_hash = given_key(identity=who, bucket=bucket, listing={"url": bucket.url})
        return PlannedArtifact(
            key=as_key(key),
            request_hash=as_request_hash(request_hash),
            external=ExternalArtifact(
                at=bucket.url,
                halted=_changed_data(manifest, data) if data is not None else None,
                listing=listing,
            ),
        )

    def _identity(self, manifest: Manifest) -> dict[str, JSON]:
        return identity(*identity_of(manifest, self.cluster))


def _changed_data(manifest: Manifest, data: ObservedData) -> Reason | None:
    """Return the reason against a use of data that has changed.

    Unlike a commit, what a folder had before cannot be mounted.
    """
    if data.newest is None:
        return None
    return Reason.of(
        ReasonCode.DATA_CHANGED,
        object=manifest.ref,
        url=data.request.url,
        pinned=str(data.listing),
        newest=str(data.newest),
    )


def _promoted(manifest: Manifest, image: Image) -> ResolvedObject:
    base = image.base
    assert base is not None  # the caller looked
    return ResolvedObject(
        manifest=manifest,
        key=base.artifact.key,
        request_hash=base.artifact.request_hash,
        image_key=image.key,
        image_build=image.made_by,
        image_request_hash=image.request_hash,
        image=image.external,
        external=base.artifact.external,
        promoted=base.who,
        gates=base.gates,
    )


def _blocked(
    manifest: Manifest, why: Reason, *, image: Image | None = None, tasks: tuple[Task, ...] = ()
) -> ResolvedObject:
    """Build an object with unknown keys; tasks with known keys can start."""
    known = {task.kind for task in tasks}
    return ResolvedObject(
        manifest=manifest,
        tasks=(*tasks, *unknown(manifest, known)),
        blocked=why,
        image_key=image.key if image else None,
        image_build=image.made_by if image else None,
        image_request_hash=image.request_hash if image else None,
        image=image.external if image else None,
        source=image.source if image else None,
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
