"""The task graph of one object: tasks, inputs, keys and order. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from reconciler.manifests import (
    BASE_FIELD,
    DATASET_FIELD,
    BucketSection,
    DatasetManifest,
    Manifest,
    ModelManifest,
    Path,
    Tenants,
    TrainingSection,
    identity_of,
)
from reconciler.planner.graph_nodes import (
    Image,
    built,
    made_task,
    tasks,
    unknown,
)
from reconciler.planner.keys import (
    as_key,
    as_request_hash,
    given_key,
    identity,
    load_key,
    train_key,
)
from reconciler.planner.references import SourceState
from reconciler.planner.tasks import (
    ExternalArtifact,
    ObservedData,
    PlannedArtifact,
    ResolvedObject,
    ResolvedReference,
    Sweep,
    Task,
    Variant,
)
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import JSON, Hash, SourceField, TaskKind

#: What each reference of an object came to, by the field it is in; or why it is not known.
Found: TypeAlias = Mapping[Path, ResolvedReference | Reason]


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
        own = self._built(manifest, SourceField.OBJECT)
        if own is not None:
            return own
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

    def test_image(self, manifest: Manifest) -> Image | Reason | None:
        """Return the image of the evaluation's own source, if it has one."""
        return self._built(manifest, SourceField.EVALUATION)

    def _built(self, manifest: Manifest, field: SourceField) -> Image | Reason | None:
        source = self.sourcing.git(manifest, field)
        if source is None or isinstance(source, Reason):
            return source
        return built(manifest, source, tenant=self.tenants.name_of(manifest.ref.namespace))

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
        sources=image.sources if image else (),
    )
