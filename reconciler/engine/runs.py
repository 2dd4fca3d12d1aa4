"""Runs: the planner's request, and the state that an engine reports.

The planner makes a :class:`RunSpec`, an engine executes it and reports a :class:`Run`. Neither
refers to a manifest, so a daemon without any other state can interpret, adopt and end a run.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from reconciler.engine.results import Result
from reconciler.reasons import Reason
from reconciler.types import (
    JSON,
    BuildContext,
    ExecutionHash,
    Kind,
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
    ``/model/saved`` of a Model, ``/data`` of a Dataset (``output_kind``), ``/result`` of an
    evaluation, which has the ``artifact`` that it is of.
    ``timeout`` is of one attempt, in seconds; ``stall`` is the longest time in it without output or
    progress, None for no bound. ``lineage`` goes into ``completed.json`` as is.
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
    stall: float | None = None
    retries: int = 0
    profile: str | None = None
    queue: str | None = None
    priority: str | None = None
    service_account: str | None = None
    output: str | None = None
    output_kind: Kind = Kind.MODEL
    base: Mounted | None = None
    dataset: Mounted | None = None
    artifact: Mounted | None = None
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as an engine sees it now.

    ``reason`` is the cause of its waiting or failure.
    ``attempts`` counts started commands over all runs of this key; times are UTC. ``placed`` is
    when its first pod got a node, None where nothing comes before the command.
    ``suspended`` is since when it waits in a queue, without a pod; None while it has its place.
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
    placed: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    suspended: datetime | None = None
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
