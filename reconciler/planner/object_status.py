"""An object's status: the content of its status file.

Records are the daemon's memory. The status branch holds one file per object, and everything
the planner must know of the past (which commit a source was pinned at, which keys are complete,
which have failed and under which execution hash) is read back from there.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from reconciler.engine import FailureClass, ResultWarning
from reconciler.planner.phases import Phase, TaskPhase
from reconciler.reasons import ReasonCode
from reconciler.types import (
    JSON,
    Commit,
    DataListing,
    ExecutionHash,
    ForeignRef,
    Metrics,
    ObjectRef,
    RequestHash,
    ResolvedSource,
    Resources,
    SourceField,
    TaskKey,
    TaskKind,
    TreeId,
)

#: How many failed attempts at keys a history keeps; complete ones are kept for ever.
FAILED_HISTORY = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestStatus:
    """The commit that last changed the manifest, and its content then.

    ``digest`` is of the parsed document; ``protected`` is substratus.ai/prune: "false".
    """

    path: str
    commit: Commit
    digest: str = ""
    protected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """A resolved source, and the hash of its request (``pin``).

    A Git source has a commit and a tree, an observed bucket a listing.
    """

    url: str
    commit: Commit | None = None
    tree: TreeId | None = None
    listing: DataListing | None = None
    pin: str

    @property
    def resolved(self) -> ResolvedSource | None:
        """The commit and the tree of a Git source."""
        if self.commit is None or self.tree is None:
            return None
        return ResolvedSource(self.commit, self.tree)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceStatus:
    """The last resolution of a reference to another cluster's object.

    ``image`` and ``image_key`` are of the image that it was made in, of a Model's.
    """

    target: ForeignRef
    key: TaskKey
    url: str
    image: str | None = None
    image_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactStatus:
    """The last complete artifact and its image, to which other clusters refer.

    ``verified`` is when its files were last compared with its marker.
    """

    url: str
    key: TaskKey
    image: str | None = None
    image_key: str | None = None
    metrics: Metrics = field(default_factory=dict)
    verified: datetime | None = None


class Verdict(enum.StrEnum):
    """A gate's verdict on an artifact; pending while a metric is unknown."""

    PENDING = "Pending"
    ACCEPTED = "Accepted"
    REJECTED = "Rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateStatus:
    """A rejected artifact, with its metrics and the lines that they failed."""

    key: TaskKey
    url: str
    metrics: Metrics = field(default_factory=dict)
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantStatus:
    """One training of a sweep.

    ``params`` are those of its combination; ``artifact`` is its URL once it is complete.
    """

    key: TaskKey
    params: Mapping[str, JSON] = field(default_factory=dict)
    phase: TaskPhase
    reason: str = ""
    message: str = ""
    metrics: Metrics = field(default_factory=dict)
    artifact: str | None = None


#: The type of a condition that a sweep has while some of its variants have failed.
VARIANTS_FAILED = "VariantsFailed"
#: The type of a condition that an object has while its artifact is lost.
ARTIFACT_LOST = "ArtifactLost"
#: The type of a condition that an object has while the data it is made from is not what was pinned.
DATA_CHANGED = "DataChanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A condition as in Kubernetes: ``status`` is "True", "False" or "Unknown"."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStatus:
    """A task's state.

    ``for_evaluation``: it builds the evaluation's own source. ``failures`` counts failures that
    were not the command's. ``run_key`` is the key that the run in ``job`` makes, where that is an
    earlier one than ``key``; ``resources`` are those that the run was created with. ``released`` is
    the id of the budget's hold that was released for the task.
    """

    task: TaskKind
    for_evaluation: bool = False
    key: TaskKey | None = None
    run_key: TaskKey | None = None
    execution_hash: ExecutionHash | None = None
    request_hash: RequestHash | None = None
    phase: TaskPhase
    job: str | None = None
    resources: Resources | None = None
    attempts: int = 0
    failures: int = 0
    failure: FailureClass | None = None
    released: str | None = None
    started: datetime | None = None
    finished: datetime | None = None
    reason: str = ""
    message: str = ""
    log: str | None = None

    @property
    def label(self) -> str:
        """The name of the task beside the others of its object."""
        return self.task.label(for_evaluation=self.for_evaluation)

    @property
    def has_printed(self) -> bool:
        """True if the task may have a log.

        The log is at a URL, or of a pod that has no URL yet.
        """
        return self.log is not None or self.attempts > 0


def newest_printed(tasks: Iterable[TaskStatus]) -> TaskStatus | None:
    """Return the last started task that may have a log, or None.

    Of those that have started in one second it is the one that comes after the others.
    """
    order = tuple(TaskKind)
    printed = (task for task in tasks if task.has_printed)
    return max(
        printed, key=lambda t: (t.started is not None, t.started, order.index(t.task)), default=None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """A task that ended.

    ``for_evaluation``: it built the evaluation's own source. ``image`` is what a build left, or
    what another task ran in; ``image_key`` is the build key or digest of that, ``source`` the
    commit of the Git source of that. ``verdict`` is of an artifact that was made for a gate; one
    without was made before there was one, and counts as accepted. ``lost`` is when a result was
    noticed to be gone. ``hidden`` is when a collection hid it, ``collected`` when one removed it,
    or what failed attempts had left, and ``restored`` when it was last taken back. ``seconds`` are
    those that the run's pods took, ``gpu_seconds`` theirs by GPU; ``cost`` is by the prices of that
    time. Where the time is not recorded they are 0, as of a run that was ``instant``: it took less
    than a second.
    """

    task: TaskKind
    for_evaluation: bool = False
    key: TaskKey
    execution_hash: ExecutionHash | None = None
    commit: Commit | None = None
    finished: datetime | None = None
    phase: TaskPhase  # SUCCEEDED, FAILED or INTERRUPTED
    started: datetime | None = None
    params: Mapping[str, JSON] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=dict)
    warnings: tuple[ResultWarning, ...] = ()
    seconds: float = 0.0
    instant: bool = False
    gpu_seconds: float = 0.0
    cost: float = 0.0
    artifact: str | None = None
    image: str | None = None
    image_key: str | None = None
    source: Commit | None = None
    verdict: Verdict | None = None
    lost: datetime | None = None
    hidden: datetime | None = None
    collected: datetime | None = None
    restored: datetime | None = None
    reason: str = ""
    message: str = ""

    @property
    def label(self) -> str:
        """The name of the task beside the others of its object."""
        return self.task.label(for_evaluation=self.for_evaluation)

    @property
    def timed(self) -> bool:
        """True if the time of the run is recorded."""
        return self.instant or self.seconds > 0

    @property
    def gone(self) -> bool:
        """True if the result was lost or removed since."""
        made = self.phase is TaskPhase.SUCCEEDED
        return made and (self.lost is not None or self.collected is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndingRun:
    """A run that is being ended, and its future history entry.

    It is recorded before the run is ended, so that a daemon killed in between counts its cost.
    ``resources`` are those that the run was created with.
    """

    job: str
    resources: Resources | None = None
    entry: HistoryEntry


#: How many artifacts that a promotion has served its status keeps.
SERVED_HISTORY = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedPromotion:
    """An artifact that a promotion serves from ``at`` on.

    ``commit`` is the last change of the manifest by which it does: of the promotion's own, or of
    that of the object that it follows.
    """

    key: TaskKey
    url: str
    at: datetime
    commit: Commit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStatus:
    """One object's status file.

    ``variants`` are the trainings of a sweep, in the order of its manifest. ``served`` are a
    promotion's artifacts, the newest last. ``spent`` is the cost of its runs by
    the month in which they ended, such as ``2026-11``. ``ending`` are runs of which that is not in
    ``spent`` yet.
    """

    ref: ObjectRef
    phase: Phase
    reason: str = ""
    message: str = ""
    hold: str | None = None
    manifest: ManifestStatus | None = None
    source: SourceStatus | None = None
    evaluation_source: SourceStatus | None = None
    references: tuple[ReferenceStatus, ...] = ()
    image: str | None = None
    artifact: ArtifactStatus | None = None
    candidate: CandidateStatus | None = None
    variants: tuple[VariantStatus, ...] = ()
    desired: TaskKey | None = None
    conditions: tuple[Condition, ...] = ()
    tasks: tuple[TaskStatus, ...] = ()
    ending: tuple[EndingRun, ...] = ()
    spent: Mapping[str, float] = field(default_factory=dict)
    history: tuple[HistoryEntry, ...] = ()
    served: tuple[ServedPromotion, ...] = ()

    def source_of(self, field: SourceField) -> SourceStatus | None:
        """Return the recorded source that a field of the manifest names."""
        match field:
            case SourceField.OBJECT:
                return self.source
            case SourceField.EVALUATION:
                return self.evaluation_source

    @property
    def sources(self) -> tuple[SourceStatus, ...]:
        """All recorded sources."""
        found = map(self.source_of, SourceField)
        return tuple(source for source in found if source is not None)

    @property
    def complete(self) -> bool:
        """True if the object is Ready, with what its manifest asks for."""
        return self.phase is Phase.READY and self.reason == ReasonCode.COMPLETE

    @property
    def never_ran(self) -> bool:
        """True if nothing was ever run for the object, nor could be."""
        return not (self.tasks or self.history or self.artifact)

    @property
    def artifact_lost(self) -> bool:
        """True from the loss of the requested artifact until its return."""
        return any(condition.type == ARTIFACT_LOST for condition in self.conditions)
