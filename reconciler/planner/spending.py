"""The cost of ended runs, and of objects by month. Pure.

The time of a run is its pod's: from the node that it got to its end, whatever the end was. Each run
costs once, in the month in which it ended (UTC). What an object has spent is kept apart from its
history, which forgets old failures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from reconciler.engine import Run
from reconciler.planner.object_status import EndingRun, HistoryEntry, TaskStatus
from reconciler.planner.prices import Prices
from reconciler.types import Gpu, Resources

if TYPE_CHECKING:  # who reads a status needs no tasks
    from reconciler.planner.tasks import Task

#: Months that an object's spending is kept of.
MOST_MONTHS = 24
_PLACES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCost:
    """Seconds of a run's pods, their GPU seconds, and their cost.

    Not ``known``: when it began is not, or another object pays.
    """

    known: bool = False
    seconds: float = 0.0
    gpu_seconds: float = 0.0
    cost: float = 0.0

    def without(self, entry: HistoryEntry) -> RunCost:
        """Return the rest beside an entry of the same run."""
        return replace(
            self,
            seconds=max(0.0, round(self.seconds - entry.seconds, 3)),
            gpu_seconds=max(0.0, round(self.gpu_seconds - entry.gpu_seconds, 3)),
            cost=max(0.0, round(self.cost - entry.cost, _PLACES)),
        )


@dataclass(frozen=True, slots=True)
class RunPricing:
    """Prices of the runs of one object.

    ``recorded`` are its recorded tasks, which have the resources of their runs, as those have that
    are ``ending``. ``others_pay`` are the names of shared builds that another object pays.
    """

    prices: Prices
    recorded: tuple[TaskStatus, ...] = ()
    ending: tuple[EndingRun, ...] = ()
    others_pay: frozenset[str] = field(default=frozenset())

    def of(
        self, run: Run, asked: Task | None, *, until: datetime, began: datetime | None = None
    ) -> RunCost:
        """Return the cost of a run until a time.

        ``asked`` is its task now. ``began`` is the start of a part of it, None for all.
        """
        began = began or run.placed or run.started or self._started(run)
        if began is None or run.name in self.others_pay:
            return RunCost()
        return self.between(began, until, self.resources(run, asked))

    def between(self, began: datetime, until: datetime, resources: Resources) -> RunCost:
        """Return the cost of these resources between two times."""
        seconds = round(max(0.0, (until - began).total_seconds()), 3)
        return RunCost(
            known=True,
            seconds=seconds,
            gpu_seconds=round(seconds * resources.gpus, 3),
            cost=round(self.prices.cost(resources, seconds), _PLACES),
        )

    def _started(self, run: Run) -> datetime | None:
        """Return the recorded start of a run whose pods are gone."""
        found = (task.started for task in self.recorded if task.job == run.name)
        return next(found, None) if run.attempts else None

    def resources(self, run: Run, asked: Task | None) -> Resources:
        """Return the known resources of a run.

        They are those that it was created with.
        """
        every: tuple[TaskStatus | EndingRun, ...] = (*self.recorded, *self.ending)
        for known in every:
            if known.job == run.name and known.resources is not None:
                return known.resources
        if asked is not None and asked.execution_hash == run.execution_hash:
            return asked.resources
        return Resources(gpu=Gpu("", run.gpus)) if run.gpus else Resources()


def month_of(time: datetime) -> str:
    """Return the month of a time in UTC, such as ``2026-11``."""
    return f"{time:%Y-%m}"


def with_spent(
    spent: Mapping[str, float], added: Iterable[HistoryEntry], now: datetime
) -> Mapping[str, float]:
    """Add the cost of new entries to an object's months."""
    found = dict(spent)
    for entry in added:
        if entry.cost:
            month = month_of(entry.finished or now)
            found[month] = round(found.get(month, 0.0) + entry.cost, _PLACES)
    return {month: found[month] for month in sorted(found)[-MOST_MONTHS:]}
