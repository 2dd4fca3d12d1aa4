"""What a run's command printed, for whoever shows it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from reconciler.types import ObjectRef, TaskKind

#: How the log of an attempt is called; whatever else a status names as one is not read.
ATTEMPT_LOG = re.compile(r"attempt-\d{1,9}\.log")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOf:
    """Which log is meant: that of a task's attempt, None for the newest.

    ``run`` is the name of the run, ``url`` where the status says that its newest log is.
    """

    object: ObjectRef
    task: TaskKind
    attempt: int | None = None
    run: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """The end of a log as the command printed it. ``whole``: there is nothing before it."""

    data: bytes
    where: str
    whole: bool


@dataclass(frozen=True, slots=True)
class NoTail:
    """Why there is nothing to show, as one sentence that says where the log is instead."""

    reason: str


class Logs(Protocol):
    """Where the logs of an engine's runs can be read."""

    async def tail(self, log: LogOf, longest: int) -> Tail | NoTail:
        """The last ``longest`` bytes of a log, at most. Never raises for what a log is like."""
        ...
