"""Progress of a run: written by its supervisor, read by the daemon."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reconciler.codec import Codec
from reconciler.engine import FailureClass, Result, RunPhase
from reconciler.engines.local.records import read_record, write_record
from reconciler.reasons import Reason, message


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """A run's progress, as it stands in ``state.json``.

    ``reason`` is a code, ``message`` its sentence; both are empty without a reason. ``input`` is
    the base or dataset that was found lost. ``tries`` counts the commands that this run has
    started, ``attempts`` those of its key. ``log`` is the newest attempt's log file.
    """

    phase: RunPhase = RunPhase.PENDING
    reason: str = ""
    message: str = ""
    input: str | None = None
    failure: FailureClass | None = None
    tries: int = 0
    attempts: int = 0
    started: datetime | None = None
    finished: datetime | None = None
    log: str | None = None
    result: Result | None = None

    @property
    def ended(self) -> bool:
        """Return true once nothing more will happen."""
        return self.phase in (RunPhase.SUCCEEDED, RunPhase.FAILED)

    @property
    def cause(self) -> Reason | None:
        """The reason, read back."""
        if not self.reason:
            return None
        return replace(
            Reason.read(self.reason, self.message),
            arguments={"input": self.input} if self.input else {},
        )

    def because(self, reason: Reason | None) -> RunState:
        """Return this state with a reason, or without one."""
        lost = reason.arguments.get("input") if reason else None
        return replace(
            self,
            reason=reason.code.value if reason else "",
            message=message(reason) if reason else "",
            input=lost if isinstance(lost, str) else None,
        )

    def failed(
        self, reason: Reason, failure: FailureClass, *, at: datetime | None = None
    ) -> RunState:
        """Return this run, ended by a failure."""
        return replace(
            self.because(reason),
            phase=RunPhase.FAILED,
            failure=failure,
            finished=self._end(at),
            result=None,
        )

    def succeeded(self, result: Result, *, at: datetime | None = None) -> RunState:
        """Return this run, ended well."""
        return replace(
            self.because(None),
            phase=RunPhase.SUCCEEDED,
            failure=None,
            finished=self._end(at),
            result=result,
        )

    def _end(self, at: datetime | None) -> datetime:
        """Return an end that is not before the start."""
        end = at or now()
        return max(end, self.started or end)


_STATE = Codec(RunState, omit="none", timespec="microseconds", version=1)


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


class Stopwatch:
    """A clock that is never set, begun at the time of day.

    Differences of its times are true durations, a suspended machine's sleep included.
    """

    def __init__(self) -> None:
        self._started, self._began = now(), _steady()

    def now(self) -> datetime:
        """Return the time, in UTC."""
        return self._started + timedelta(seconds=_steady() - self._began)


def _steady() -> float:
    boottime = getattr(time, "CLOCK_BOOTTIME", None)  # Linux's alone
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)


def read(path: Path) -> RunState | None:
    """Read a state; None without a file. Raises ValueError if damaged."""
    try:
        return read_record(path, _STATE)
    except FileNotFoundError:
        return None


def write(path: Path, state: RunState) -> None:
    """Replace the state in a file, durably."""
    write_record(path, _STATE, state)
