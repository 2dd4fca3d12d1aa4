"""What one object is asked to be: its tasks with their keys, before anything has run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.manifests.read import Manifest
from reconciler.manifests.schema import CommandSection, GitSection, RunSection
from reconciler.planner.keys import Hash
from reconciler.types import (
    GROUP,
    GitSource,
    How,
    Intent,
    ObjectRef,
    ResolvedSource,
    Resources,
    TaskKey,
    TaskKind,
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


def annotation(manifest: Manifest, name: str) -> str:
    """The value of an annotation, empty where there is none."""
    return manifest.document.metadata.annotations.get(name, "")
