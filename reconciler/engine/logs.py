"""Logs of the attempts of runs."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import Protocol

from reconciler.types import (
    ObjectRef,
    TaskKind,
)

#: The name of an attempt's log; a status that names any other file is not followed.
ATTEMPT_LOG = re.compile(r"attempt-(\d{1,9})\.log")


def newest_attempt(names: Iterable[str]) -> int:
    """Return the highest attempt number among names of files, or 0."""
    return max((int(m[1]) for name in names if (m := ATTEMPT_LOG.fullmatch(name))), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOf:
    """The log of a task's attempt.

    ``attempt`` is None for the newest, ``rank`` None for what one log has of them (on a cluster
    rank 0's), ``run`` is the name of the run, ``url`` the status's URL of the run's newest log.
    """

    object: ObjectRef
    task: TaskKind
    attempt: int | None = None
    rank: int | None = None
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
class OpenedLog:
    """The beginning of one attempt's log among those that are followed."""

    where: str


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


class FollowedLogs(Protocol):
    """The growing logs of a task's attempts.

    ``finished``: the only attempt that was asked for has ended, and is read.
    """

    @property
    def finished(self) -> bool:
        """True once nothing can follow."""
        ...

    def poll(self, log: LogOf) -> AsyncGenerator[OpenedLog | bytes]:
        """Iterate over what was printed since the last poll. Raises EngineError."""
        ...
