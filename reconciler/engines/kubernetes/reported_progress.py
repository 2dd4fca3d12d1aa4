"""Progress that pods report to this daemon, in memory.

A pod's file system is not the daemon's, so curves are here while a run goes on, and the wrapper
takes them from here beside the log once a minute and in the end. A daemon that starts anew begins
with nothing: the wrapper finds that it has not had its curves from this one, and hands back those
that it has kept. Memory is bounded: with too many points the runs that were silent for longest are
forgotten.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from reconciler.engine import Curves, LogOf, Progress, continued_curves, read_report

#: Points of all runs that are kept: some 100 bytes each.
MOST_POINTS = 500_000


@dataclass(slots=True)
class _Reported:
    """An attempt.

    ``told``: its beginning is known. ``fetched``: the wrapper has had its curves.
    """

    began: float
    heard: float | None
    progress: Progress
    curves: Curves = field(default_factory=Curves)
    told: bool = False
    fetched: bool = False


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
        if (found := self._current(run)) is None:
            return
        report, dropped = read_report(data)
        now, at = self._clock(), datetime.now(UTC)
        seconds = now - found.began
        found.progress = found.progress.updated(report, at=at, seconds=seconds, dropped=dropped)
        found.curves.add(report, seconds)
        if report:
            found.heard = now
        self._runs[run] = self._runs.pop(run)
        self._forget()

    def date(self, run: str, seconds: float) -> None:
        """Learn for how long a live run's attempt has lasted.

        Without it an attempt counts from its first report to this daemon.
        """
        if (found := self._current(run)) is None or found.told:
            return
        began = self._clock() - seconds
        found.curves.shift(found.began - began)
        later = max(0.0, found.progress.seconds + found.began - began)
        found.progress = replace(found.progress, seconds=round(later, 3))
        found.began, found.told = began, True

    def age(self, run: str) -> float | None:
        """Return the seconds since the last usable report; None without one."""
        found = self._runs.get(run)
        return None if found is None or found.heard is None else self._clock() - found.heard

    def fetch(self, run: str) -> str:
        """Return the curves as a file, for the wrapper; empty without any."""
        found = self._runs.get(run)
        if found is None or not found.curves.size:
            return ""
        found.fetched = True
        return "".join(found.curves.lines())

    def was_fetched(self, run: str) -> bool:
        """Return whether the wrapper has had curves of this attempt from here."""
        found = self._runs.get(run)
        return found is not None and found.fetched

    def hand_back(self, run: str, lines: Sequence[bytes]) -> None:
        """Take the curves that the wrapper had from an earlier daemon."""
        found = self._current(run)
        if found is None or found.fetched:
            return
        found.curves, found.fetched = continued_curves(lines, found.curves), True
        self._forget()

    def latest(self, run: str) -> Progress | None:
        """Return what a run has reported last."""
        found = self._runs.get(run)
        if found is None or (found.heard is None and not found.progress.dropped):
            return None
        return found.progress

    def live(self) -> Iterator[tuple[str, Progress]]:
        """Yield the progress of live runs, that with the newest report first."""
        for run in reversed(self._runs):
            progress = self.latest(run)
            if progress is not None and self.knows(run):
                yield run, progress

    async def curves(self, log: LogOf) -> Curves | None:
        """Return the curves of a run's newest attempt, while they are here."""
        found = self._runs.get(log.run or "")
        if found is None or log.attempt not in (None, found.progress.attempt):
            return None
        return found.curves if found.curves.size else None

    def _current(self, run: str) -> _Reported | None:
        """Return a live run's attempt; None of another run."""
        number = self._attempt(run)
        if number is None:
            return None
        found = self._runs.get(run)
        # The number of an attempt is learnt later than the first report may come.
        if found is None or 0 < found.progress.attempt < number:
            found = _Reported(self._clock(), None, Progress(attempt=number, at=datetime.now(UTC)))
            self._runs.pop(run, None)
            self._runs[run] = found
        found.progress = replace(found.progress, attempt=number)
        return found

    def _forget(self) -> None:
        points = sum(found.curves.size for found in self._runs.values())
        while points > self._most and len(self._runs) > 1:
            oldest = next(iter(self._runs))
            points -= self._runs.pop(oldest).curves.size
