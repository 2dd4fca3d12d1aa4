"""Live runs by name and by task, and their limits. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from reconciler.engine import Run
from reconciler.planner.plan import PlannerConfig
from reconciler.planner.superseding import superseded_runs
from reconciler.planner.tasks import ResolvedObject, Task
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import ObjectRef, TaskKind


class LiveRuns:
    """The live runs before a plan, and those that it adds."""

    def __init__(self, runs: Iterable[Run], objects: Mapping[ObjectRef, ResolvedObject]) -> None:
        self._by_slot: defaultdict[str, list[Run]] = defaultdict(list)
        self._by_task: defaultdict[tuple[ObjectRef, TaskKind], list[Run]] = defaultdict(list)
        self._count = 0
        self._gpus = 0
        for run in runs:
            if not run.live:
                continue
            self._by_slot[_slot(run.name)].append(run)
            self._count += 1
            if run.object is not None:
                self._by_task[run.object, run.task].append(run)
                self._gpus += _gpus(objects.get(run.object), run.task)

    def of_slot(self, name: str) -> Sequence[Run]:
        """The runs with the instance, namespace and key of a name."""
        return self._by_slot.get(_slot(name), ())

    def superseded_by(self, ref: ObjectRef, task: Task) -> list[Run]:
        """The runs of an object's task that have another key."""
        return superseded_runs(self._by_task.get((ref, task.kind), ()), task)

    def limit(self, task: Task, settings: PlannerConfig) -> Reason | None:
        """The limit that one more run of a task would exceed."""
        if settings.limit_runs and self._count >= settings.limit_runs:
            return Reason.of(ReasonCode.RUN_LIMIT_REACHED, limit=settings.limit_runs)
        gpus = task.resources.gpus
        if settings.limit_gpus and gpus and self._gpus + gpus > settings.limit_gpus:
            return Reason.of(ReasonCode.GPU_LIMIT_REACHED, gpus=gpus, limit=settings.limit_gpus)
        return None

    def add(self, task: Task) -> None:
        """Count a run that the plan creates."""
        self._count += 1
        self._gpus += task.resources.gpus


def _gpus(item: ResolvedObject | None, kind: TaskKind) -> int:
    found = (task for task in item.tasks if task.kind is kind) if item is not None else ()
    return sum(task.resources.gpus for task in found)


def _slot(name: str) -> str:
    """Return the hash of instance, namespace and key in a run's name."""
    return name.split("-")[-2]
