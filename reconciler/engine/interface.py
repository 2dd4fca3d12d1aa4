"""The interface of the engines that execute runs."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from reconciler.engine.results import Result
from reconciler.engine.runs import Run, RunSpec
from reconciler.errors import ReconcilerError, Trouble
from reconciler.reasons import Reason, message
from reconciler.types import (
    BucketSource,
    DataListing,
    TaskKey,
    TaskKind,
)


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
    """A kind of what is removed because nothing uses it.

    IMAGE: what a build made of a source tree. ENVIRONMENT: the packages that images share.
    ARTIFACT: the result of a load, training or evaluation. ATTEMPT: what failed attempts have
    left. TRY: the result of a local try.
    """

    IMAGE = "image"
    ENVIRONMENT = "environment"
    ARTIFACT = "artifact"
    ATTEMPT = "attempt"
    TRY = "try"


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

    async def list_data(self, source: BucketSource) -> DataListing:
        """Return what is in a bucket's folder now. Raises :class:`EngineError`."""
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
