"""What an object's commands run in and what they read, each with where it comes from."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.manifests.read import Manifest
from reconciler.manifests.schema import RunSection
from reconciler.planner.desired import RETRY_ANNOTATION, Desired, Source, Task, annotation
from reconciler.planner.keys import Hash, as_intent, as_key, build_key, how_hash
from reconciler.types import JSON, How, Intent, TaskKey, TaskKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """Weights or data that a later task reads; ``url`` where they are given, not made."""

    key: TaskKey
    intent: Intent
    task: Task | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What an object's commands run in, and where it comes from."""

    key: Hash
    intent: Hash
    ref: str | None = None
    build: Task | None = None
    source: Source | None = None
    base: Desired | None = None

    @property
    def base_product(self) -> Product | None:
        """The base's artifact, as a training reads it."""
        if self.base is None or self.base.key is None or self.base.intent is None:
            return None
        return Product(key=self.base.key, intent=self.base.intent)

    def desired(
        self, manifest: Manifest, product: Product | None, before: Product | None = None
    ) -> Desired:
        """The object whose artifact is this product."""
        return Desired(
            manifest=manifest,
            tasks=tasks(self, before, product),
            key=product.key if product else None,
            intent=product.intent if product else None,
            image_key=self.key,
            image_intent=self.intent,
            image_ref=self.ref,
            given=product.url if product else None,
            given_base=before.url if before else None,
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
    key = build_key(tree=source.resolved.tree, git=source.git, rerun=section.rerun)
    intent = build_key(tree=asked, git=source.git, rerun=section.rerun)
    task = Task(
        kind=TaskKind.BUILD,
        key=as_key(key),
        how=how(manifest, section),
        intent=as_intent(intent),
        section=section,
        image_key=key,
    )
    return Image(key=key, intent=intent, build=task, source=source)


def tasks(image: Image, *products: Product | None) -> tuple[Task, ...]:
    """The tasks that make them, in the order in which they run."""
    found = [image.build, *(product.task for product in products if product)]
    return tuple(task for task in found if task is not None)


def needs(image: Image, *keys: TaskKey | None) -> tuple[TaskKey, ...]:
    """The keys that must be complete first: of the image where it is built, and of what is read."""
    made = [as_key(image.key)] if image.ref is None else []
    return tuple(dict.fromkeys([*made, *(key for key in keys if key is not None)]))


def how(manifest: Manifest, section: RunSection) -> How:
    """How a task of this object is run."""
    return how_hash(section, retry=annotation(manifest, RETRY_ANNOTATION))
