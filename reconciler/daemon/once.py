"""The end of ``run --once``: all is done, or waits for others.

A run that executes its command is waited for, as its timeout ends it. Anything else that may come
by itself is given a time: a retry, a source that could not be read, a run that cannot start. What
only a push, a release or another configuration brings is not waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reconciler.engine import Run, RunPhase
from reconciler.errors import ReconcilerError
from reconciler.planner import Plan, TaskPhase
from reconciler.reasons import OBSTACLES, UNRESOLVED_SOURCES

#: Seconds that something outside is waited for while nothing goes on.
PATIENCE = 30.0
#: Seconds that a run is given to start while nothing is known to be in its way: images of many
#: gigabytes are pulled meanwhile, and a fetch of a source has ten minutes.
START_PATIENCE = 900.0


class StillWaitingError(ReconcilerError):
    """Something was waited for in vain before anything could be done."""


@dataclass(slots=True)
class OncePatience:
    """The time that ``run --once`` still waits.

    ``seconds`` is for how long nothing may go on, by ``clock``. The time begins again whenever a
    task becomes complete or another run is live.
    """

    seconds: float = PATIENCE
    clock: Callable[[], float] = time.monotonic
    _since: float | None = None
    _progress: tuple[int, frozenset[str]] = (0, frozenset())

    def left(
        self, plan: Plan, runs: Mapping[str, Run], *, began: float, retry: float, source: float
    ) -> float | None:
        """Return the seconds that may still bring something; None at the end.

        ``began`` is when the last sync began. ``retry`` is in how many seconds the plan's next
        retry is due, ``source`` in how many the next look-up of a source is.
        """
        live = [run for run in runs.values() if run.live]
        if plan.creates() or any(_goes_on(run) for run in live):
            self._since = None
            return self.seconds
        progress = len(plan.inputs.ledger.completed), frozenset(run.name for run in live)
        if self._since is None or progress != self._progress:
            self._since, self._progress = began, progress
        restoring = bool(plan.inputs.ledger.restoring)
        starting = restoring or any(not _has_obstacle(run) for run in live)
        end = self._since + (max(self.seconds, START_PATIENCE) if starting else self.seconds)
        chances = [0.0] if live or plan.endings or restoring else []
        if plan.retry_at is not None:
            chances.append(retry)
        if _waits_for_source(plan):
            chances.append(source)
        now = self.clock()
        return end - now if chances and now + min(chances) < end else None


def _goes_on(run: Run) -> bool:
    """Return whether a run executes, or is being ended."""
    return not _has_obstacle(run) and (run.deleting or run.phase is RunPhase.RUNNING)


def _has_obstacle(run: Run) -> bool:
    return run.lost or (run.reason is not None and run.reason.root.code in OBSTACLES)


def _waits_for_source(plan: Plan) -> bool:
    return any(
        action.phase is TaskPhase.WAITING and action.reason.root.code in UNRESOLVED_SOURCES
        for actions in plan.decided.values()
        for action in actions
    )
