"""Types of resolved objects: tasks, inputs and external artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.manifests import (
    BestSection,
    Combination,
    CommandSection,
    GateLine,
    GitSection,
    Manifest,
    ObservedBucketSection,
    RunSection,
)
from reconciler.planner.object_status import ReferenceStatus
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import (
    JSON,
    BucketSource,
    DataListing,
    ExecutionHash,
    ForeignRef,
    GitSource,
    Hash,
    ListingDigest,
    Metrics,
    ObjectRef,
    RequestHash,
    ResolvedSource,
    Resources,
    SourceField,
    TaskKey,
    TaskKind,
)
from reconciler.types import Gpu as GpuResource


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalArtifact:
    """An image or artifact that no task of this cluster makes.

    ``at`` is its reference or URL.

    ``cluster`` is the other cluster whose status named it; None: a manifest did. ``halted`` says
    why nothing new is made of it for now, although it is known: its cluster cannot be asked, or
    the data at the URL is not what was pinned. ``listing`` is what a key says to be at the URL.
    """

    at: str
    cluster: str | None = None
    halted: Reason | None = None
    listing: ListingDigest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task of an object.

    ``key`` is None while an input is unknown.

    ``needs`` are the tasks that must be complete before it can start, by key; ``external`` are the
    artifacts that it reads and that nothing here makes.
    ``artifact`` is the one that it evaluates. ``gates`` are the objects that must have accepted
    what they make before the task reads it.
    ``image_key`` is the build key or image digest of the image it runs in (of a build: its own),
    ``image_build`` the key of the build that makes that image, if one does, ``image`` that image
    where it is named by digest. ``source`` is the source of that image, if this object names it: of
    a build, what is built.
    """

    kind: TaskKind
    key: TaskKey | None
    execution_hash: ExecutionHash
    request_hash: RequestHash | None
    section: RunSection
    image_key: Hash | None
    image_build: TaskKey | None = None
    image: ExternalArtifact | None = None
    source: Source | None = None
    base: TaskKey | None = None
    dataset: TaskKey | None = None
    artifact: TaskKey | None = None
    gates: tuple[ObjectRef, ...] = ()
    needs: tuple[TaskKey, ...] = ()
    external: Mapping[TaskKey, ExternalArtifact] = field(default_factory=dict)

    @property
    def resources(self) -> Resources:
        """The resources that an engine is asked for."""
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
    def params(self) -> Mapping[str, JSON]:
        """The params of the command; of a build, none."""
        return self.section.params if isinstance(self.section, CommandSection) else {}

    @property
    def for_evaluation(self) -> bool:
        """True for the build of the evaluation's own source."""
        evaluation = self.source is not None and self.source.field is SourceField.EVALUATION
        return self.kind is TaskKind.BUILD and evaluation

    @property
    def label(self) -> str:
        """The name of the task beside the others of its object."""
        return self.kind.label(for_evaluation=self.for_evaluation)

    @property
    def halted(self) -> Reason | None:
        """The reason if an input keeps the task from starting.

        The task's key is known, but the input's cluster cannot be asked.
        """
        return _halted(self.image, *self.external.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A resolved Git source, for an object's status and a build."""

    field: SourceField
    git: GitSection
    request: GitSource
    resolved: ResolvedSource
    pin: Hash
    newest: ResolvedSource | None = None  # what the remote has, where that is not what is used


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedData:
    """A Dataset's observed bucket, for its key and its status.

    ``listing`` is the one in its key, ``newest`` what is there now, where that is another.
    """

    bucket: ObservedBucketSection
    request: BucketSource
    listing: DataListing
    pin: Hash
    newest: DataListing | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedArtifact:
    """Weights or data that a task makes or reads.

    ``external`` is set if no task of this cluster makes them.
    """

    key: TaskKey
    request_hash: RequestHash
    task: Task | None = None
    external: ExternalArtifact | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedReference:
    """The inputs of an object that come from another object.

    That is of this cluster or of another one.

    ``image`` is the image where it is named by digest rather than built here, ``image_build`` the
    key of its build where it is. ``reference`` is what
    there is to remember of another cluster's.
    """

    who: ObjectRef | ForeignRef
    artifact: PlannedArtifact
    image_key: Hash | None = None
    image_build: TaskKey | None = None
    image_request_hash: Hash | None = None
    image: ExternalArtifact | None = None
    reference: ReferenceStatus | None = None
    gates: tuple[ObjectRef, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedArtifact:
    """The artifact that a gate accepted last.

    ``known``: a task here made it.
    """

    key: TaskKey
    url: str
    metrics: Metrics = field(default_factory=dict)
    known: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The gate of a Model: the lines that its metrics must pass.

    ``task`` is the evaluation of the artifact, None if its own metrics count; its key is None while
    an input is unknown. ``build`` makes its image, where that is not the object's. ``current`` is
    the accepted artifact to compare with, ``current_task`` its evaluation under the same test.
    ``accept`` is the key that Git accepts, or the begin of one.
    """

    lines: tuple[GateLine, ...] = ()
    task: Task | None = None
    build: Task | None = None
    current: AcceptedArtifact | None = None
    current_task: Task | None = None
    accept: str = ""


@dataclass(frozen=True, slots=True)
class Variant:
    """One training of a sweep; ``params`` are those of its combination."""

    params: Combination
    task: Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """The trainings of a Model with a matrix.

    ``best`` chooses the object's artifact. ``complete`` and ``failed`` count variants. ``unknown``
    is why none is chosen: not all have ended, say.
    """

    variants: tuple[Variant, ...]
    best: BestSection | None = None
    complete: int = 0
    failed: int = 0
    unknown: Reason | None = None

    @property
    def ended(self) -> bool:
        """True once each variant is complete, or failed for good."""
        return self.complete + self.failed == len(self.variants)

    @property
    def has_failed(self) -> bool:
        """True if all variants have ended and none may be the artifact."""
        chosen = self.best is None or self.unknown is None
        return self.ended and not (self.complete and chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedObject:
    """One object as a commit describes it.

    ``key`` is of the artifact that makes it Ready; ``external`` is that where nothing runs for it.
    ``blocked`` says why keys are unknown. ``image_key`` is what its consumers run in, ``image``
    that image where it is named by digest, ``image_build`` the key of its build. ``promoted`` is
    whose artifact it takes over; ``references`` what its references to other clusters were resolved
    to, ``sources`` what its Git sources were. ``gate`` is its own gate; ``gates`` are the objects
    that must have accepted its artifact before others use it. ``sweep`` has the trainings of a
    matrix, which are among the tasks.
    """

    manifest: Manifest
    tasks: tuple[Task, ...] = ()
    key: TaskKey | None = None
    request_hash: RequestHash | None = None
    image_key: Hash | None = None
    image_build: TaskKey | None = None
    image_request_hash: Hash | None = None
    image: ExternalArtifact | None = None
    external: ExternalArtifact | None = None
    sources: tuple[Source, ...] = ()
    data: ObservedData | None = None
    blocked: Reason | None = None
    promoted: ObjectRef | ForeignRef | None = None
    references: tuple[ReferenceStatus, ...] = ()
    gate: Gate | None = None
    gates: tuple[ObjectRef, ...] = ()
    sweep: Sweep | None = None

    @property
    def ref(self) -> ObjectRef:
        """The object."""
        return self.manifest.ref

    @property
    def source(self) -> Source | None:
        """The Git source of the object itself."""
        return self.source_of(SourceField.OBJECT)

    def source_of(self, field: SourceField) -> Source | None:
        """Return the Git source that a field names, if it is resolved."""
        return next((source for source in self.sources if source.field is field), None)

    @property
    def unknown(self) -> Reason:
        """The reason why the key is unknown."""
        sweep = self.sweep.unknown if self.sweep is not None else None
        return self.blocked or sweep or Reason.of(ReasonCode.KEY_UNKNOWN)

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The trainings of its sweep, if it is one."""
        return self.sweep.variants if self.sweep is not None else ()

    @property
    def unavailable(self) -> Reason | None:
        """The reason why nothing new is made of an input, or None."""
        read = (external for task in self.tasks for external in task.external.values())
        return _halted(self.image, self.external, *read)


def _halted(*found: ExternalArtifact | None) -> Reason | None:
    return next((each.halted for each in found if each is not None and each.halted), None)


def annotation(manifest: Manifest, name: str) -> str:
    """The value of an annotation, empty where there is none."""
    return manifest.document.metadata.annotations.get(name, "")
