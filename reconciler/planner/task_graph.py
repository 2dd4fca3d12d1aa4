"""What one object is asked to be, by the shape of its manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from reconciler.manifests import (
    BASE_FIELD,
    DATASET_FIELD,
    FORMERLY_ANNOTATION,
    BucketSection,
    CommandSection,
    DatasetManifest,
    Manifest,
    ModelManifest,
    Path,
    TrainingSection,
)
from reconciler.planner.ingredients import (
    Image,
    PlannedArtifact,
    ResolvedReference,
    built,
    given,
    how,
    needs,
    tasks,
    unknown,
)
from reconciler.planner.keys import (
    Hash,
    as_intent,
    as_key,
    given_key,
    identity,
    load_key,
    train_key,
)
from reconciler.planner.source_state import SourceState
from reconciler.planner.tasks import ExternalArtifact, ResolvedObject, Task, annotation
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import JSON, TaskKind

#: What each reference of an object came to, by the field it is in; or why it is not known.
Found: TypeAlias = Mapping[Path, ResolvedReference | Reason]


@dataclass(frozen=True, slots=True)
class TaskGraphBuilder:
    """Works out objects of one cluster, whose sources stand as ``sourcing`` says."""

    cluster: str
    sourcing: SourceState

    def of(self, manifest: Manifest, upstream: Found) -> ResolvedObject:
        """The object's tasks, with as many keys as are known."""
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
            weights = self._given(manifest, spec.load.from_)
        elif spec.training is None or (spec.training.mode == "Finetune" and image.base is None):
            weights = self._load(manifest, image)
        else:
            weights = None
        if spec.training is None:
            return image.desired(manifest, weights)
        base = weights or image.base_product
        return self._train(manifest, spec.training, image, base, upstream.get(DATASET_FIELD))

    def _dataset(self, manifest: Manifest, document: DatasetManifest) -> ResolvedObject:
        spec = document.spec
        if spec.source.bucket is not None:
            given = self._given(manifest, spec.source.bucket)
            return ResolvedObject(
                manifest=manifest, key=given.key, intent=given.intent, given=given.given
            )
        image = self._image(manifest, {})
        if isinstance(image, Reason):
            return _blocked(manifest, image)
        if spec.load.from_ is not None:
            given = self._given(manifest, spec.load.from_)
            return image.desired(manifest, given)
        return image.desired(manifest, self._load(manifest, image))

    def _image(self, manifest: Manifest, upstream: Found) -> Image | Reason:
        source = self.sourcing.of(manifest)
        if isinstance(source, Reason):
            return source
        if source is not None:
            return built(manifest, source)
        named = manifest.document.spec.source.image
        if named is not None:
            digest = named.ref.rpartition("@")[2]
            return Image(key=digest, intent=digest, given=ExternalArtifact(at=named.ref))
        base = upstream[BASE_FIELD]  # exactly one source, checked when parsed
        if isinstance(base, Reason):
            return base
        if base.image_key is None or base.image_intent is None:
            return Reason.of(ReasonCode.REFERENCE_IMAGE_UNKNOWN, object=base.who)
        return Image(key=base.image_key, intent=base.image_intent, given=base.image, base=base)

    def _load(self, manifest: Manifest, image: Image) -> PlannedArtifact:
        section = manifest.document.spec.load
        who = self._identity(manifest)

        def hashed(image: Hash, base: Hash | None, _: Hash | None) -> Hash:
            return load_key(identity=who, image=image, section=section, base=base)

        return _made(TaskKind.LOAD, manifest, section, image, hashed, base=image.base_product)

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
        data = dataset.product if dataset is not None else None
        who = self._identity(manifest)

        def hashed(image: Hash, base: Hash | None, dataset: Hash | None) -> Hash:
            return train_key(identity=who, image=image, section=section, base=base, dataset=dataset)

        product = _made(TaskKind.TRAIN, manifest, section, image, hashed, base=base, data=data)
        return image.desired(manifest, product, before=base)

    def _given(self, manifest: Manifest, bucket: BucketSection) -> PlannedArtifact:
        key = given_key(identity=self._identity(manifest), bucket=bucket)
        return PlannedArtifact(
            key=as_key(key), intent=as_intent(key), given=ExternalArtifact(at=bucket.url)
        )

    def _identity(self, manifest: Manifest) -> dict[str, JSON]:
        formerly = annotation(manifest, FORMERLY_ANNOTATION)
        who = identity(self.cluster, manifest.ref)
        if formerly:
            *rest, name = formerly.split("/")
            who["name"] = name
            if rest:
                who["namespace"] = rest[-1]
            if len(rest) > 1:
                who["cluster"] = rest[0]
        return who


def _promoted(manifest: Manifest, image: Image) -> ResolvedObject:
    base = image.base
    assert base is not None  # the caller looked
    return ResolvedObject(
        manifest=manifest,
        key=base.product.key,
        intent=base.product.intent,
        image_key=image.key,
        image_intent=image.intent,
        image=image.given,
        given=base.product.given,
        promoted=base.who,
    )


def _blocked(
    manifest: Manifest, why: Reason, *, image: Image | None = None, tasks: tuple[Task, ...] = ()
) -> ResolvedObject:
    """An object some of whose keys are unknown; its tasks with known keys can go ahead."""
    known = {task.kind for task in tasks}
    return ResolvedObject(
        manifest=manifest,
        tasks=(*tasks, *unknown(manifest, known)),
        blocked=why,
        image_key=image.key if image else None,
        image_intent=image.intent if image else None,
        image=image.given if image else None,
        source=image.source if image else None,
    )


def _made(
    kind: TaskKind,
    manifest: Manifest,
    section: CommandSection,
    image: Image,
    hashed: Callable[[Hash, Hash | None, Hash | None], Hash],
    *,
    base: PlannedArtifact | None,
    data: PlannedArtifact | None = None,
) -> PlannedArtifact:
    """What a command makes in an image, of what it reads.

    Its key and its intent are the same hash over keys and over intents; where nothing upstream is
    followed, it is one.
    """
    keys = image.key, base.key if base else None, data.key if data else None
    intents = image.intent, base.intent if base else None, data.intent if data else None
    key = as_key(hashed(*keys))
    intent = as_intent(key if intents == keys else hashed(*intents))
    task = Task(
        kind=kind,
        key=key,
        how=how(manifest, section),
        intent=intent,
        section=section,
        image_key=image.key,
        base=base.key if base else None,
        dataset=data.key if data else None,
        needs=needs(image, base, data),
        given=given(base, data),
    )
    return PlannedArtifact(key=key, intent=intent, task=task)
