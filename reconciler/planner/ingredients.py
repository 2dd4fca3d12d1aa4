"""What an object's commands run in and what they read, each with where it comes from."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from reconciler.manifests import RETRY_ANNOTATION, Manifest, ModelSpec, RunSection
from reconciler.planner.keys import Hash, as_intent, as_key, build_key, how_hash
from reconciler.planner.status import ReferenceStatus
from reconciler.planner.tasks import ExternalArtifact, ResolvedObject, Source, Task, annotation
from reconciler.types import JSON, ForeignRef, How, Intent, ObjectRef, TaskKey, TaskKind


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedArtifact:
    """Weights or data that a later task reads; ``given`` where nothing here makes them."""

    key: TaskKey
    intent: Intent
    task: Task | None = None
    given: ExternalArtifact | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedReference:
    """What an object gets from one that it refers to, here or in another cluster.

    ``image`` is the image where it is named by digest rather than built here. ``reference`` is what
    there is to remember of another cluster's.
    """

    who: ObjectRef | ForeignRef
    product: PlannedArtifact
    image_key: Hash | None = None
    image_intent: Hash | None = None
    image: ExternalArtifact | None = None
    reference: ReferenceStatus | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What an object's commands run in, and where it comes from."""

    key: Hash
    intent: Hash
    given: ExternalArtifact | None = None
    build: Task | None = None
    source: Source | None = None
    base: ResolvedReference | None = None

    @property
    def base_product(self) -> PlannedArtifact | None:
        """The base's artifact, as a training reads it."""
        return self.base.product if self.base is not None else None

    def desired(
        self,
        manifest: Manifest,
        product: PlannedArtifact | None,
        before: PlannedArtifact | None = None,
    ) -> ResolvedObject:
        """The object whose artifact is this product."""
        return ResolvedObject(
            manifest=manifest,
            tasks=tasks(self, before, product),
            key=product.key if product else None,
            intent=product.intent if product else None,
            image_key=self.key,
            image_intent=self.intent,
            image=self.given,
            given=product.given if product else None,
            source=self.source,
        )


def built(manifest: Manifest, source: Source) -> Image:
    """The image that an object's own build leaves."""
    section = manifest.document.spec.build
    asked: JSON = source.resolved.tree
    if source.git.follow:
        # An intent says what was asked for: the branch, wherever it stands.
        asked = {
            "url": source.request.url,
            "path": source.request.path,
            "branch": source.request.branch,
            "tag": source.request.tag,
        }
    key = build_key(tree=source.resolved.tree, git=source.git, section=section)
    intent = build_key(tree=asked, git=source.git, section=section)
    task = Task(
        kind=TaskKind.BUILD,
        key=as_key(key),
        how=how(manifest, section),
        intent=as_intent(intent),
        section=section,
        image_key=key,
    )
    return Image(key=key, intent=intent, build=task, source=source)


def tasks(image: Image, *products: PlannedArtifact | None) -> tuple[Task, ...]:
    """The tasks that make them, in the order in which they run."""
    found = [image.build, *(product.task for product in products if product)]
    return tuple(task for task in found if task is not None)


def needs(image: Image, *products: PlannedArtifact | None) -> tuple[TaskKey, ...]:
    """The keys that must be complete first: of the image where it is built, and of what is read."""
    made = [as_key(image.key)] if image.given is None else []
    made += [read.key for read in products if read is not None and read.given is None]
    return tuple(dict.fromkeys(made))


def given(*products: PlannedArtifact | None) -> dict[TaskKey, ExternalArtifact]:
    """Where those are that nothing here makes."""
    return {read.key: read.given for read in products if read is not None and read.given}


def unknown(manifest: Manifest, known: Container[TaskKind]) -> tuple[Task, ...]:
    """The tasks of an object whose keys are not known, in the order in which they would run."""
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
        Task(
            kind=kind,
            key=None,
            how=how(manifest, section),
            intent=None,
            section=section,
            image_key=None,
        )
        for kind, section in sections
        if section is not None and kind not in known
    )


def how(manifest: Manifest, section: RunSection) -> How:
    """How a task of this object is run."""
    return how_hash(section, retry=annotation(manifest, RETRY_ANNOTATION))
