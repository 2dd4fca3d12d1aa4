"""Progress that pods report to this daemon, in memory.

A pod's file system is not the daemon's, so curves are here while a run goes on, and the wrapper
takes them from here beside the log once its command has ended. A daemon that starts anew begins
with nothing. Memory is bounded: with too many points the runs that were silent for longest are
forgotten.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from reconciler.engine import Curves, LogOf, Progress, read_report

#: Points of all runs that are kept: some 100 bytes each.
MOST_POINTS = 500_000


@dataclass(slots=True)
class _Reported:
    began: float
    heard: float | None
    progress: Progress
    curves: Curves = field(default_factory=Curves)


class ReportedProgress:
    """The reports of runs, by the name of the run.

    ``attempt`` returns the number of a live run's attempt, None of a run that is not live.
    """

    def __init__(
        self,
        attempt: Callable[[str], int | None],
        *,
        most: int = MOST_POINTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._attempt = attempt
        self._most = most
        self._clock = clock
        #: In the order of the newest report.
        self._runs: dict[str, _Reported] = {}

    def knows(self, run: str) -> bool:
        """Return whether a run is live."""
        return self._attempt(run) is not None

    def take(self, run: str, data: bytes) -> None:
        """Take a report of a live run; one of another is dropped."""
        number = self._attempt(run)
        if number is None:
            return
        report, dropped = read_report(data)
        now, at = self._clock(), datetime.now(UTC)
        found = self._runs.pop(run, None)
        # The number of an attempt is learnt later than the first report may come.
        if found is None or 0 < found.progress.attempt < number:
            found = _Reported(now, None, Progress(attempt=number, at=at))
        seconds = now - found.began
        before = replace(found.progress, attempt=number)
        found.progress = before.updated(report, at=at, seconds=seconds, dropped=dropped)
        found.curves.add(report, seconds)
        if report:
            found.heard = now
        self._runs[run] = found
        self._forget()

    def age(self, run: str) -> float | None:
        """Return the seconds since the last usable report; None without one."""
        found = self._runs.get(run)
        return None if found is None or found.heard is None else self._clock() - found.heard

    def lines(self, run: str) -> str:
        """Return the curves as a file; empty without a point."""
        found = self._runs.get(run)
        return "".join(found.curves.lines()) if found is not None and found.curves.size else ""

    def latest(self, run: str) -> Progress | None:
        """Return what a run has reported last."""
        found = self._runs.get(run)
        return found.progress if found is not None else None

    async def curves(self, log: LogOf) -> Curves | None:
        """Return the curves of a run's newest attempt, while they are here."""
        found = self._runs.get(log.run or "") if log.attempt is None else None
        return found.curves if found is not None else None

    def _forget(self) -> None:
        points = sum(found.curves.size for found in self._runs.values())
        while points > self._most and len(self._runs) > 1:
            oldest = next(iter(self._runs))
            points -= self._runs.pop(oldest).curves.size
