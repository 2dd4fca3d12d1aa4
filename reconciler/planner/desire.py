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
from reconciler.manifests.schema import (
    CommandSection,
    DatasetManifest,
    GitSection,
    ModelManifest,
    Reference,
    RunSection,
)
from reconciler.planner.keys import (
    Hash,
    as_intent,
    as_key,
    build_key,
    given_key,
    how_hash,
    identity,
    load_key,
    pin_hash,
    train_key,
)
from reconciler.planner.ledger import Ledger
from reconciler.planner.record import Record
from reconciler.types import (
    GROUP,
    JSON,
    GitSource,
    How,
    Intent,
    Kind,
    ObjectRef,
    ResolvedSource,
    Resources,
    TaskKey,
    TaskKind,
    UnresolvedSource,
)
from reconciler.types import Gpu as GpuResource

RETRY_ANNOTATION = f"{GROUP}/retry"
UPDATE_ANNOTATION = f"{GROUP}/update"
PRUNE_ANNOTATION = f"{GROUP}/prune"
FORMERLY_ANNOTATION = f"{GROUP}/formerly"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One unit of work an object needs. ``key`` is None while something it depends on is unknown.

    ``needs`` are the tasks that must be complete before it can start, by key.
    ``image_key`` is the build key or image digest of the image it runs in (of a build: its own).
    """

    kind: TaskKind
    key: TaskKey | None
    how: How
    intent: Intent | None
    section: RunSection
    image_key: Hash | None
    base: TaskKey | None = None
    dataset: TaskKey | None = None
    needs: tuple[TaskKey, ...] = ()

    @property
    def resources(self) -> Resources:
        """As an engine is asked for them."""
        asked = self.section.resources
        return Resources(
            cpu=asked.cpu,
            memory=asked.memory,
            disk=asked.disk,
            shm=asked.shm,
            gpu=GpuResource(asked.gpu.type or "", asked.gpu.count) if asked.gpu else None,
            nodes=asked.nodes,
        )

    @property
    def params(self) -> Mapping[str, object]:
        """The params of a load or training; of a build, none."""
        return self.section.params if isinstance(self.section, CommandSection) else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where an object's Git source stands, for its record and for its build."""

    git: GitSection
    request: GitSource
    resolved: ResolvedSource
    pin: Hash
    newest: ResolvedSource | None = None  # what the remote has, where that is not what is used


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """One object as a commit wants it.

    ``key`` is of the artifact that makes it Ready; ``given`` its URL where nothing runs for it.
    ``blocked`` says why keys are unknown. ``image_key`` is what its consumers run in.
    """

    manifest: Manifest
    tasks: tuple[Task, ...] = ()
    key: TaskKey | None = None
    intent: Intent | None = None
    image_key: Hash | None = None
    image_intent: Hash | None = None
    image_ref: str | None = None  # where the image is named by digest rather than built
    given: str | None = None
    given_base: str | None = None
    source: Source | None = None
    blocked: str | None = None
    promoted: ObjectRef | None = None  # whose artifact it takes over

    @property
    def ref(self) -> ObjectRef:
        """The object."""
        return self.manifest.ref


#: What an object's keys depend on, and what came of it; see :func:`desire`.
Memo = dict[ObjectRef, tuple[tuple[object, ...], Desired]]


@dataclass(slots=True)
class Desire:
    """Walks the objects and keeps what it found; see :func:`desire`."""

    cluster: str
    objects: Mapping[ObjectRef, Manifest]
    sources: Mapping[GitSource, ResolvedSource | UnresolvedSource]
    requests: Mapping[ObjectRef, GitSource | UnresolvedSource]
    records: Mapping[ObjectRef, Record]
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
        git = manifest.document.spec.source.git
        yield self._source(manifest, git) if git is not None else None
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

    # -- sources ---------------------------------------------------------------------------

    def _source(self, manifest: Manifest, git: GitSection) -> Source | str:
        request = self.requests.get(manifest.ref)
        if request is None:
            return "its source has not been looked up yet"
        if isinstance(request, UnresolvedSource):
            return request.reason
        pin = pin_hash(git, update=_annotation(manifest, UPDATE_ANNOTATION))
        now = self.sources.get(request, UnresolvedSource("its source has not been looked up yet"))
        record = self.records.get(manifest.ref)
        pinned = record.source if record else None
        if pinned is not None and pinned.pin == pin and request.url and not git.follow:
            resolved = ResolvedSource(pinned.commit, pinned.tree)
            newest = now if isinstance(now, ResolvedSource) and now != resolved else None
            return Source(git=git, request=request, resolved=resolved, pin=pin, newest=newest)
        if isinstance(now, UnresolvedSource):
            return now.reason
        if pinned is not None and pinned.pin == pin and pinned.tree == now.tree:
            # A commit that left the folder as it was is no news: the recorded one stays.
            now = ResolvedSource(pinned.commit, pinned.tree)
        return Source(git=git, request=request, resolved=now, pin=pin)

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

    def _image(self, manifest: Manifest, document: ModelManifest | DatasetManifest) -> _Image | str:
        spec = document.spec
        if spec.source.git is not None:
            source = self._source(manifest, spec.source.git)
            if isinstance(source, str):
                return source
            return _built(manifest, document, source)
        if spec.source.image is not None:
            digest = spec.source.image.ref.rpartition("@")[2]
            return _Image(key=digest, intent=digest, ref=spec.source.image.ref)
        assert isinstance(document, ModelManifest)  # a Dataset has no other source
        reference = document.spec.source.model
        assert reference is not None  # exactly one source, checked when parsed
        ref = _target(manifest, Kind.MODEL, reference)
        base = self._upstream(ref, reference)
        if isinstance(base, str):
            return base
        if base.image_key is None or base.image_intent is None:
            return f"waiting for {ref}: no image of it is known"
        return _Image(key=base.image_key, intent=base.image_intent, ref=base.image_ref, base=base)

    def _load(self, manifest: Manifest, image: _Image) -> _Product:
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
            how=_how(manifest, section),
            intent=as_intent(intent),
            section=section,
            image_key=image.key,
            base=base.key if base else None,
            needs=_needs(image, base.key if base else None),
        )
        return _Product(key=as_key(key), intent=as_intent(intent), task=task)

    def _train(
        self, manifest: Manifest, document: ModelManifest, image: _Image, base: _Product | None
    ) -> Desired:
        section = document.spec.training
        assert section is not None  # the caller looked
        base = base if section.mode == "Finetune" else None
        data: Desired | None = None
        if section.dataset is not None:
            ref = _target(manifest, Kind.DATASET, section.dataset)
            upstream = self._upstream(ref, section.dataset)
            if isinstance(upstream, str):
                return _blocked(manifest, upstream, image=image, tasks=_tasks(image, base))
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
            how=_how(manifest, section),
            intent=as_intent(intent),
            section=section,
            image_key=image.key,
            base=base.key if base else None,
            dataset=data.key if data else None,
            needs=_needs(image, base.key if base else None, data.key if data else None),
        )
        product = _Product(key=as_key(key), intent=as_intent(intent), task=task)
        return image.desired(manifest, product, before=base)

    def _given(self, manifest: Manifest, url: str, revision: str) -> _Product:
        key = given_key(identity=self._identity(manifest), url=url, revision=revision)
        return _Product(key=as_key(key), intent=as_intent(key), url=url)

    def _identity(self, manifest: Manifest) -> dict[str, JSON]:
        formerly = _annotation(manifest, FORMERLY_ANNOTATION)
        who = identity(self.cluster, manifest.ref)
        if formerly:
            *rest, name = formerly.split("/")
            who["name"] = name
            if rest:
                who["namespace"] = rest[-1]
            if len(rest) > 1:
                who["cluster"] = rest[0]
        return who


@dataclass(frozen=True, slots=True, kw_only=True)
class _Product:
    """Weights or data that a later task reads; ``url`` where they are given, not made."""

    key: TaskKey
    intent: Intent
    task: Task | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Image:
    """What an object's commands run in, and where it comes from."""

    key: Hash
    intent: Hash
    ref: str | None = None
    build: Task | None = None
    source: Source | None = None
    base: Desired | None = None

    @property
    def base_product(self) -> _Product | None:
        """The base's artifact, as a training reads it."""
        if self.base is None or self.base.key is None or self.base.intent is None:
            return None
        return _Product(key=self.base.key, intent=self.base.intent)

    def desired(
        self, manifest: Manifest, product: _Product | None, before: _Product | None = None
    ) -> Desired:
        """The object whose artifact is this product."""
        return Desired(
            manifest=manifest,
            tasks=_tasks(self, before, product),
            key=product.key if product else None,
            intent=product.intent if product else None,
            image_key=self.key,
            image_intent=self.intent,
            image_ref=self.ref,
            given=product.url if product else None,
            given_base=before.url if before else None,
            source=self.source,
        )


def _built(manifest: Manifest, document: ModelManifest | DatasetManifest, source: Source) -> _Image:
    section = document.spec.build
    asked: JSON = source.resolved.tree
    if source.git.follow:
        # An intent says what was asked for: the branch, wherever it stands.
        asked = {
            "url": source.request.url,
            "path": source.request.path,
            "branch": source.request.branch,
            "tag": source.request.tag,
        }
    key = build_key(tree=source.resolved.tree, git=source.git, rerun=section.rerun)
    intent = build_key(tree=asked, git=source.git, rerun=section.rerun)
    task = Task(
        kind=TaskKind.BUILD,
        key=as_key(key),
        how=_how(manifest, section),
        intent=as_intent(intent),
        section=section,
        image_key=key,
    )
    return _Image(key=key, intent=intent, build=task, source=source)


def _tasks(image: _Image, *products: _Product | None) -> tuple[Task, ...]:
    tasks = [image.build, *(product.task for product in products if product)]
    return tuple(task for task in tasks if task is not None)


def _needs(image: _Image, *keys: TaskKey | None) -> tuple[TaskKey, ...]:
    """The keys that must be complete first: of the image where it is built, and of what is read."""
    built = [as_key(image.key)] if image.ref is None else []
    return tuple(dict.fromkeys([*built, *(key for key in keys if key is not None)]))


def _promoted(manifest: Manifest, image: _Image) -> Desired:
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
    manifest: Manifest, why: str, *, image: _Image | None = None, tasks: tuple[Task, ...] = ()
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


def _annotation(manifest: Manifest, name: str) -> str:
    return manifest.document.metadata.annotations.get(name, "")


def _how(manifest: Manifest, section: RunSection) -> How:
    return how_hash(section, retry=_annotation(manifest, RETRY_ANNOTATION))


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
        sources=sources,
        requests=requests,
        records=records,
        ledger=ledger,
        memo=memo if memo is not None else {},
    )
    walk.walk(sorted(objects))
    return walk.found
