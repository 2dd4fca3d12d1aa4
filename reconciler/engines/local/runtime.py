"""The interface of a runtime: builds and commands on this machine.

There are two: :mod:`.process_runtime`, in which an image is a source tree, and
:mod:`.container_runtime`, in which it is one of Docker's or Podman's. What is the same for both
(locks, attempts, logs, progress, artifacts) knows this interface alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from reconciler.engine import CommandPaths, Ranks, ReportServer
from reconciler.engines.local.container_terms import Program
from reconciler.engines.local.failures import RunFailedError
from reconciler.engines.local.launch import RankCommand
from reconciler.engines.local.layout import ImageDirectory
from reconciler.engines.local.locks import KeyLock
from reconciler.engines.local.records import ImageRecord

if TYPE_CHECKING:
    from reconciler.engines.local.run_context import RunContext


class Workload(Protocol):
    """All that an attempt runs beside the supervisor's own processes."""

    @property
    def token(self) -> str:
        """The attempt's own, by which all that it runs is found."""
        ...

    @property
    def program(self) -> Program | None:
        """The program that runs its containers; None without any."""
        ...

    def end(self) -> None:
        """End all of it, and learn how it ended. Raises StillRunningError."""
        ...

    def starved(self) -> bool:
        """Return whether memory ran out; called once all has ended."""
        ...

    def refused(self, rank: int, last: str) -> RunFailedError | None:
        """Return the failure that a rank's command is not to blame for.

        None if it is. Called once all has ended; ``last`` are the last lines of the output.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOrder:
    """A build whose source is in ``image.tree``.

    ``lock`` is of its key; what is used until its image is complete goes into ``uses``.
    """

    run: RunContext
    image: ImageDirectory
    lock: KeyLock
    environ: Mapping[str, str]
    uses: ExitStack


@dataclass(frozen=True, slots=True, kw_only=True)
class RankOrder:
    """The command of one rank, in paths of this machine.

    ``folder`` is the rank's own, with ``work``, ``home``, ``tmp`` and ``out`` in it. ``gpus`` are
    ids for CUDA_VISIBLE_DEVICES.
    """

    ranks: Ranks
    attempt: int
    folder: Path
    paths: CommandPaths
    reports: ReportServer
    secrets: Mapping[str, str]
    gpus: tuple[str, ...]

    @property
    def number(self) -> int:
        """The rank's number."""
        return self.ranks.rank or 0


class Workplace(Protocol):
    """An image, ready to run the command of one attempt in."""

    @property
    def workload(self) -> Workload:
        """The workload of the attempt."""
        ...

    def command(self, order: RankOrder) -> RankCommand:
        """Return the command to launch for a rank. Raises RunFailedError."""
        ...


class Runtime(Protocol):
    """Builds and commands, as a supervisor has them executed."""

    def build(self, order: BuildOrder) -> ImageRecord:
        """Make an image. Raises RunFailedError, StoppedError and OSError."""
        ...

    def workplace(self, run: RunContext, environ: Mapping[str, str]) -> Workplace:
        """Make the image of a command ready. Raises as ``build`` does."""
        ...
