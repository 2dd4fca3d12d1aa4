"""Runs, and the interface of the engines that execute them.

The planner makes a :class:`RunSpec`, an engine executes it and reports a :class:`Run`. Neither
refers to a manifest, so a daemon without any other state can interpret, adopt and end a run.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from reconciler.codec import Codec, CodecError
from reconciler.errors import ReconcilerError, Trouble
from reconciler.reasons import WARNINGS, Reason, message
from reconciler.types import (
    JSON,
    BuildContext,
    ExecutionHash,
    Kind,
    Metrics,
    Mounted,
    ObjectRef,
    RequestHash,
    Resources,
    SecretKey,
    TaskKey,
    TaskKind,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """Everything an engine needs to execute a task whose inputs are complete.

    ``name`` has the key and the execution hash in it, so creating the same name twice is adoption.
    ``build`` is set for a build alone; every other task has ``image``, a build's result or the
    image that the manifest names. ``output`` is the URL of the artifact directory, ending in ``/``:
    ``/model/saved`` of a Model, ``/data`` of a Dataset (``output_kind``).
    ``timeout`` is of one attempt, in seconds. ``lineage`` goes into ``completed.json`` as is.
    ``user`` is the one as whom a cluster's Job is created; None: the daemon itself.
    """

    name: str
    task: TaskKind
    key: TaskKey
    execution_hash: ExecutionHash
    request_hash: RequestHash
    namespace: str
    object: ObjectRef | None  # None for a build, which several objects may share
    build: BuildContext | None = None
    image: str | None = None
    command: tuple[str, ...] = ()
    params: Mapping[str, JSON] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    secret_env: Mapping[str, SecretKey] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)
    timeout: float = 3600.0
    retries: int = 0
    profile: str | None = None
    queue: str | None = None
    priority: str | None = None
    service_account: str | None = None
    output: str | None = None
    output_kind: Kind = Kind.MODEL
    base: Mounted | None = None
    dataset: Mounted | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    lineage: Mapping[str, JSON] = field(default_factory=dict)
    user: str | None = None

    def pending(self) -> Run:
        """Return the run in its first state."""
        return Run(
            name=self.name,
            task=self.task,
            key=self.key,
            execution_hash=self.execution_hash,
            request_hash=self.request_hash,
            object=self.object,
            phase=RunPhase.PENDING,
            namespace=self.namespace,
            gpus=self.resources.gpus,
        )


class RunPhase(enum.StrEnum):
    """The phase of a run.

    Pending until the command has started; a run that ended is Succeeded or Failed.
    """

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class FailureClass(enum.StrEnum):
    """The cause of a failure, by which it is remembered or retried.

    COMMAND: the user's command (or build) failed, timed out or is not there; remembered.
    INFRASTRUCTURE: anything else; retried by the daemon with back-off, a bounded number of times.
    UNAVAILABLE: no answer or no capacity from the engine; retried without bound.
    """

    COMMAND = "Command"
    INFRASTRUCTURE = "Infrastructure"
    UNAVAILABLE = "Unavailable"


#: Metrics go into every status file and page: a curve belongs in a file of its own.
MOST_METRICS = 100
LONGEST_METRIC = 100


_LONGEST_WARNING = 1000
#: Beyond it a double does not hold each integer; RFC 8785 has the same bound.
_EXACT = 2**53 - 1


def metric_of(value: JSON) -> int | float | None:
    """Return the number that is kept of a metric.

    None if it is no finite number. An integer stays one, unless other readers of JSON would not
    read it exactly.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int) and -_EXACT <= value <= _EXACT:
        return value
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def is_metric_name(name: str) -> bool:
    """Return whether a name can stand in every status file and page."""
    return 0 < len(name) <= LONGEST_METRIC and name.isprintable()


def metrics_of(value: JSON) -> dict[str, int | float]:
    """Return the usable metrics of a flat object, within the bounds."""
    if not isinstance(value, dict):
        return {}
    known = ((name, metric_of(number)) for name, number in value.items() if is_metric_name(name))
    kept = [(name, number) for name, number in known if number is not None]
    return dict(kept[:MOST_METRICS])


@dataclass(frozen=True, slots=True)
class ResultWarning:
    """Something wrong with a result that is complete all the same.

    It becomes a condition of the object. ``reason`` is the code's value, ``message`` its sentence.
    """

    reason: str
    message: str

    @classmethod
    def of(cls, reason: Reason) -> ResultWarning:
        """Make the warning of a reason."""
        return cls(reason.code.value, message(reason))

    def to_json(self) -> JSON:
        """Return the warning as a marker has it."""
        return _WARNING.dump(self)


_WARNING = Codec(ResultWarning)


def warnings_of(value: JSON) -> tuple[ResultWarning, ...]:
    """Read warnings that a command may have written.

    Anything else is passed over.
    """
    found: list[ResultWarning] = []
    for item in value if isinstance(value, list) else []:
        with suppress(CodecError):
            found.append(_WARNING.load(item))
    return usable_warnings(found)


def usable_warnings(warnings: Iterable[ResultWarning]) -> tuple[ResultWarning, ...]:
    """Return one warning of each known code, printable and bounded."""
    found: dict[str, ResultWarning] = {}
    for warning in warnings:
        if warning.reason in WARNINGS:
            clean = "".join(c if c.isprintable() else " " for c in warning.message)
            usable = ResultWarning(warning.reason, clean[:_LONGEST_WARNING])
            found.setdefault(warning.reason, usable)
    return tuple(found.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A completed task's result: an image reference (build) or an artifact directory."""

    image: str | None = None
    url: str | None = None
    metrics: Metrics = field(default_factory=dict)
    gpu_seconds: float = 0.0
    warnings: tuple[ResultWarning, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as an engine sees it now.

    ``reason`` is the cause of its waiting or failure.
    ``attempts`` counts started commands over all runs of this key; times are UTC.
    ``log`` is the URL of the newest attempt's output.
    ``deleting`` is set while the run is being ended: it is still live then. ``lost`` is set while
    the run's node does not report: the run may go on there, so it is live as well.
    ``namespace`` and ``gpus`` are as the run was created; None where only Git is known.
    ``live``: a process or pod of the run may still be there, or may yet start.
    """

    name: str
    task: TaskKind
    key: TaskKey
    execution_hash: ExecutionHash
    request_hash: RequestHash
    object: ObjectRef | None
    phase: RunPhase
    attempts: int = 0
    created: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    reason: Reason | None = None
    failure: FailureClass | None = None
    log: str | None = None
    result: Result | None = None
    deleting: bool = False
    lost: bool = False
    namespace: str | None = None
    gpus: int | None = None
    #: Stored, as every sync reads it of every run, of which most have ended long ago.
    live: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        live = self.deleting or self.phase in (RunPhase.PENDING, RunPhase.RUNNING)
        object.__setattr__(self, "live", live)


@dataclass(frozen=True, slots=True)
class Capacity:
    """Limits of an engine.

    A task beyond them is Waiting with a reason.
    ``gpus``: None if the engine sets no bound (a cluster may add nodes).
    ``containers``: the engine can run an image that is named rather than built.
    """

    containers: bool
    gpus: int | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A task whose result is searched for outside the daemon's memory."""

    task: TaskKind
    key: TaskKey
    url: str | None  # of the artifact directory; None for a build


class CollectedKind(enum.StrEnum):
    """A kind of what an engine removes because nothing uses it.

    IMAGE: what a build made of a source tree. ENVIRONMENT: the packages that images share.
    """

    IMAGE = "image"
    ENVIRONMENT = "environment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """An unused thing that was removed.

    ``freed`` are the bytes that the disk has more: without files that have links elsewhere.
    ``used`` is the time of its last use.
    """

    kind: CollectedKind
    name: str
    freed: int
    used: datetime


class Engine(Protocol):
    """Executor of runs.

    All methods may be called again after any failure.
    """

    @property
    def capacity(self) -> Capacity:
        """The engine's limits; valid once started."""
        ...

    async def start(self, changed: Callable[[], None]) -> None:
        """Adopt the runs of an earlier daemon; then report every change.

        ``changed`` is called whenever a run changes.
        """
        ...

    async def stop(self) -> None:
        """Stop watching. Runs go on; a later daemon adopts them."""
        ...

    def runs(self) -> Mapping[str, Run]:
        """Every run of this instance by name, from memory; never blocks."""
        ...

    async def create(self, spec: RunSpec) -> None:
        """Create the run, or adopt the one of that name. Raises :class:`EngineError`."""
        ...

    async def delete(self, name: str) -> None:
        """End the run if it is live, and forget it.

        Unknown names are ignored. Returns when the request is recorded; the run stays in
        :meth:`runs`, ``deleting``, until nothing of it is left running. Raises
        :class:`EngineError`.
        """
        ...

    async def recover(self, wanted: Iterable[Wanted]) -> Mapping[TaskKey, Result]:
        """Search for results that no record names.

        The only search outside the daemon's memory.
        """
        ...

    async def lost(self, artifacts: Iterable[Wanted]) -> frozenset[TaskKey]:
        """Return the keys of the artifacts that have no valid marker.

        An engine names only what it can look at: an unknown artifact is not lost.
        """
        ...

    async def verify(self, artifact: Wanted) -> bool | None:
        """Return whether an artifact's files are as they were made.

        Their content is compared too, as far as it was recorded: it takes as long as reading it
        does, with pauses. None where the engine cannot look.
        """
        ...

    async def collect(self, images: AbstractSet[str]) -> Sequence[Collected]:
        """Remove images and environments that nothing has used for long.

        ``images`` are those that objects need, each a build's key or a reference; those of live
        runs are kept besides. What is removed is made again when it is needed. Raises OSError.
        """
        ...


class EngineError(ReconcilerError):
    """A request that an engine could not execute.

    Its reason has no secrets and goes into status files.
    """

    def __init__(self, reason: Reason, *, permanent: bool = False) -> None:
        super().__init__(message(reason))
        self.reason = reason
        self.permanent = permanent
        if permanent:
            self.trouble = Trouble.REJECTED


class ImageGoneError(EngineError):
    """A run's image, the result of build ``key``, that is gone."""

    def __init__(self, reason: Reason, key: TaskKey) -> None:
        super().__init__(reason)
        self.key = key


# -- logs ----------------------------------------------------------------------------------

#: The name of an attempt's log; a status that names any other file is not followed.
ATTEMPT_LOG = re.compile(r"attempt-(\d{1,9})\.log")


def newest_attempt(names: Iterable[str]) -> int:
    """Return the highest attempt number among names of files, or 0."""
    return max((int(m[1]) for name in names if (m := ATTEMPT_LOG.fullmatch(name))), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOf:
    """The log of a task's attempt.

    ``attempt`` is None for the newest, ``run`` is the name of the run, ``url`` the status's URL of
    the run's newest log.
    """

    object: ObjectRef
    task: TaskKind
    attempt: int | None = None
    run: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """The end of a log as the command printed it.

    ``where`` is a place for users to read; ``whole``: the log has nothing before ``data``.
    """

    data: bytes
    where: str
    whole: bool


@dataclass(frozen=True, slots=True)
class NoTail:
    """A log that cannot be shown.

    ``message`` is one sentence that names the log's place.
    """

    message: str


class Logs(Protocol):
    """Reader of the logs of an engine's runs."""

    async def tail(self, log: LogOf, longest: int) -> Tail | NoTail:
        """Read at most the last ``longest`` bytes of a log.

        No content of a log raises an error.
        """
        ...
