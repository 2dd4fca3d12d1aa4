"""What a commit asks for: every object's tasks, with their keys, before anything has run.

The result depends on nothing but the manifests, where their sources stand, and (for references
that pin a key, and for pinned sources) what the records remember. Objects are walked in the order
of their references, so each key finds the keys it depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from reconciler.manifests.collect import references
from reconciler.manifests.read import Manifest
from reconciler.manifests.schema import DatasetManifest, ModelManifest, Reference
from reconciler.planner.desired import FORMERLY_ANNOTATION, Desired, Task, annotation
from reconciler.planner.ingredients import Image, Product, built, how, needs, tasks
from reconciler.planner.keys import (
    Hash,
    as_intent,
    as_key,
    given_key,
    identity,
    load_key,
    train_key,
)
from reconciler.planner.ledger import Ledger
from reconciler.planner.record import Record
from reconciler.planner.sourcing import Sourcing
from reconciler.types import (
    JSON,
    GitSource,
    Kind,
    ObjectRef,
    ResolvedSource,
    TaskKey,
    TaskKind,
    UnresolvedSource,
)

#: What an object's keys depend on, and what came of it; see :func:`desire`.
Memo = dict[ObjectRef, tuple[tuple[object, ...], Desired]]


@dataclass(slots=True)
class Desire:
    """Walks the objects and keeps what it found; see :func:`desire`."""

    cluster: str
    objects: Mapping[ObjectRef, Manifest]
    sourcing: Sourcing
    ledger: Ledger
    memo: Memo
    found: dict[ObjectRef, Desired] = field(default_factory=dict)

    def walk(self, refs: Iterable[ObjectRef]) -> None:
        """Depth first without recursion: a chain of bases can be as long as the repository."""
        walking: set[ObjectRef] = set()
        for start in refs:
            stack: list[tuple[ObjectRef, bool]] = [(start, False)]
            while stack:
                ref, entered = stack.pop()
                if entered:
                    walking.discard(ref)
                    self.found[ref] = self._one(self.objects[ref])
                elif ref not in self.found and ref not in walking and ref in self.objects:
                    walking.add(ref)
                    stack.append((ref, True))
                    stack.extend((up, False) for up, _, _ in references(self.objects[ref]))

    def _one(self, manifest: Manifest) -> Desired:
        depends = (id(manifest), self.cluster, *self._depends(manifest))
        known = self.memo.get(manifest.ref)
        if known is not None and known[0] == depends:
            return known[1]
        document = manifest.document
        if isinstance(document, ModelManifest):
            found = self._model(manifest, document)
        else:
            found = self._dataset(manifest, document)
        self.memo[manifest.ref] = depends, found
        return found

    def _depends(self, manifest: Manifest) -> Iterator[object]:
        """Everything besides the manifest that its keys are made of, as values to compare."""
        yield self.sourcing.of(manifest)
        for ref, reference, _ in references(manifest):
            upstream = self._upstream(ref, reference)
            if isinstance(upstream, str):
                yield upstream
            else:
                yield upstream.key, upstream.intent, upstream.given
                yield upstream.image_key, upstream.image_intent, upstream.image_ref

    # -- references ------------------------------------------------------------------------

    def _upstream(self, ref: ObjectRef, reference: Reference) -> Desired | str:
        """The object that is referred to, or why it cannot be used yet."""
        target = self.found.get(ref)
        if target is None:
            known = ref in self.objects
            return f"waiting for {ref}, which " + (
                "depends on this object" if known else "has no valid manifest yet"
            )
        if reference.key is not None:
            return self._pinned(target, TaskKey(reference.key))
        if target.key is None:
            return f"waiting for {ref}: {target.blocked}"
        return target

    def _pinned(self, target: Desired, key: TaskKey) -> Desired | str:
        complete = self.ledger.result(key)
        if complete is None or complete.result.url is None:
            return f"waiting for {target.ref}: it has no complete artifact {key}"
        return Desired(
            manifest=target.manifest,
            key=key,
            intent=as_intent(key),
            image_key=complete.image_key,
            image_intent=complete.image_key,
            image_ref=target.image_ref if complete.image_key == target.image_key else None,
        )

    # -- objects ---------------------------------------------------------------------------

    def _model(self, manifest: Manifest, document: ModelManifest) -> Desired:
        spec = document.spec
        image = self._image(manifest, document)
        if isinstance(image, str):
            return _blocked(manifest, image)
        if image.base is not None and not spec.load.command and spec.training is None:
            return _promoted(manifest, image)
        if spec.load.from_ is not None:
            weights = self._given(manifest, spec.load.from_.url, spec.load.from_.revision)
        elif spec.training is None or (spec.training.mode == "Finetune" and image.base is None):
            weights = self._load(manifest, image)
        else:
            weights = None
        if spec.training is None:
            return image.desired(manifest, weights)
        base = weights or image.base_product
        return self._train(manifest, document, image, base)

    def _dataset(self, manifest: Manifest, document: DatasetManifest) -> Desired:
        spec = document.spec
        if spec.source.bucket is not None:
            bucket = spec.source.bucket
            given = self._given(manifest, bucket.url, bucket.revision)
            return Desired(manifest=manifest, key=given.key, intent=given.intent, given=given.url)
        image = self._image(manifest, document)
        if isinstance(image, str):
            return _blocked(manifest, image)
        if spec.load.from_ is not None:
            given = self._given(manifest, spec.load.from_.url, spec.load.from_.revision)
            return image.desired(manifest, given)
        return image.desired(manifest, self._load(manifest, image))

    def _image(self, manifest: Manifest, document: ModelManifest | DatasetManifest) -> Image | str:
        spec = document.spec
        source = self.sourcing.of(manifest)
        if isinstance(source, str):
            return source
        if source is not None:
            return built(manifest, source)
        if spec.source.image is not None:
            digest = spec.source.image.ref.rpartition("@")[2]
            return Image(key=digest, intent=digest, ref=spec.source.image.ref)
        assert isinstance(document, ModelManifest)  # a Dataset has no other source
        reference = document.spec.source.model
        assert reference is not None  # exactly one source, checked when parsed
        ref = _target(manifest, Kind.MODEL, reference)
        base = self._upstream(ref, reference)
        if isinstance(base, str):
            return base
        if base.image_key is None or base.image_intent is None:
            return f"waiting for {ref}: no image of it is known"
        return Image(key=base.image_key, intent=base.image_intent, ref=base.image_ref, base=base)

    def _load(self, manifest: Manifest, image: Image) -> Product:
        section = manifest.document.spec.load
        who = self._identity(manifest)
        base = image.base

        def hashed(image: Hash, base: Hash | None) -> Hash:
            return load_key(identity=who, image=image, section=section, base=base)

        key, intent = _key_and_intent(
            hashed,
            (image.key, base.key if base else None),
            (image.intent, base.intent if base else None),
        )
        task = Task(
            kind=TaskKind.LOAD,
            key=as_key(key),
            how=how(manifest, section),
            intent=as_intent(intent),
            section=section,
            image_key=image.key,
            base=base.key if base else None,
            needs=needs(image, base.key if base else None),
        )
        return Product(key=as_key(key), intent=as_intent(intent), task=task)

    def _train(
        self, manifest: Manifest, document: ModelManifest, image: Image, base: Product | None
    ) -> Desired:
        section = document.spec.training
        assert section is not None  # the caller looked
        base = base if section.mode == "Finetune" else None
        data: Desired | None = None
        if section.dataset is not None:
            ref = _target(manifest, Kind.DATASET, section.dataset)
            upstream = self._upstream(ref, section.dataset)
            if isinstance(upstream, str):
                return _blocked(manifest, upstream, image=image, tasks=tasks(image, base))
            data = upstream
        who = self._identity(manifest)

        def hashed(image: Hash, base: Hash | None, dataset: Hash | None) -> Hash:
            return train_key(identity=who, image=image, section=section, base=base, dataset=dataset)

        key, intent = _key_and_intent(
            hashed,
            (image.key, base.key if base else None, data.key if data else None),
            (image.intent, base.intent if base else None, data.intent if data else None),
        )
        task = Task(
            kind=TaskKind.TRAIN,
            key=as_key(key),
            how=how(manifest, section),
            intent=as_intent(intent),
            section=section,
            image_key=image.key,
            base=base.key if base else None,
            dataset=data.key if data else None,
            needs=needs(image, base.key if base else None, data.key if data else None),
        )
        product = Product(key=as_key(key), intent=as_intent(intent), task=task)
        return image.desired(manifest, product, before=base)

    def _given(self, manifest: Manifest, url: str, revision: str) -> Product:
        key = given_key(identity=self._identity(manifest), url=url, revision=revision)
        return Product(key=as_key(key), intent=as_intent(key), url=url)

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


def _promoted(manifest: Manifest, image: Image) -> Desired:
    base = image.base
    assert base is not None  # the caller looked
    return Desired(
        manifest=manifest,
        key=base.key,
        intent=base.intent,
        image_key=image.key,
        image_intent=image.intent,
        image_ref=image.ref,
        given=base.given,
        promoted=base.ref,
    )


def _blocked(
    manifest: Manifest, why: str, *, image: Image | None = None, tasks: tuple[Task, ...] = ()
) -> Desired:
    """An object some of whose keys are unknown; its tasks with known keys can go ahead."""
    return Desired(
        manifest=manifest,
        tasks=tasks,
        blocked=why,
        image_key=image.key if image else None,
        image_intent=image.intent if image else None,
        image_ref=image.ref if image else None,
        source=image.source if image else None,
    )


def _key_and_intent(
    hashed: Callable[..., Hash], keys: tuple[Hash | None, ...], intents: tuple[Hash | None, ...]
) -> tuple[Hash, Hash]:
    """The same hash over keys and over intents; where nothing upstream is followed, it is one."""
    key = hashed(*keys)
    return key, key if intents == keys else hashed(*intents)


def _target(manifest: Manifest, kind: Kind, reference: Reference) -> ObjectRef:
    return ObjectRef(kind, reference.namespace or manifest.ref.namespace, reference.name)


def desire(
    *,
    cluster: str,
    objects: Mapping[ObjectRef, Manifest],
    sources: Mapping[GitSource, ResolvedSource | UnresolvedSource],
    requests: Mapping[ObjectRef, GitSource | UnresolvedSource],
    records: Mapping[ObjectRef, Record],
    ledger: Ledger,
    memo: Memo | None = None,
) -> dict[ObjectRef, Desired]:
    """Every object's tasks and keys, in an order in which each follows what it refers to.

    ``requests`` says which source an object's URL resolves to, or why none may be used;
    ``sources`` where each of those stands. With a ``memo`` that is handed in again, only objects
    are worked out whose manifest, or anything upstream of it, is another than the last time.
    """
    walk = Desire(
        cluster=cluster,
        objects=objects,
        sourcing=Sourcing(sources=sources, requests=requests, records=records),
        ledger=ledger,
        memo=memo if memo is not None else {},
    )
    walk.walk(sorted(objects))
    return walk.found
