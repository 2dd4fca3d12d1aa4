"""Live runs by name and by task, and their limits. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from reconciler.engine import Run
from reconciler.planner.planner_config import PlannerConfig
from reconciler.planner.superseding import superseded_runs
from reconciler.planner.tasks import ResolvedObject, Task
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import ObjectRef, TaskKind


class LiveRuns:
    """The live runs before a plan, and those that it adds."""

    def __init__(
        self,
        runs: Iterable[Run],
        objects: Mapping[ObjectRef, ResolvedObject],
        settings: PlannerConfig,
    ) -> None:
        self._settings = settings
        self._objects = objects
        self._by_slot: defaultdict[str, list[Run]] = defaultdict(list)
        self._by_task: defaultdict[tuple[ObjectRef, TaskKind], list[Run]] = defaultdict(list)
        #: By tenant; those of None are of all.
        self._runs: Counter[str | None] = Counter()
        self._gpus: Counter[str | None] = Counter()
        for run in runs:
            if not run.live:
                continue
            self._by_slot[_slot(run.name)].append(run)
            if run.object is not None:
                self._by_task[run.object, run.task].append(run)
            self._count(run.namespace, _gpus(run, objects))

    def of_slot(self, name: str) -> Sequence[Run]:
        """The runs with the instance, namespace and key of a name."""
        return self._by_slot.get(_slot(name), ())

    def superseded_by(self, ref: ObjectRef, task: Task) -> list[Run]:
        """The runs of an object's task that have another key."""
        found = superseded_runs(self._by_task.get((ref, task.kind), ()), task)
        item = self._objects.get(ref) if found else None
        if item is None:
            return found
        # An object can have two evaluations at a time, and a sweep has many trainings. What was
        # asked for as one of those is superseded by that, anything else by the first.
        kin = [each for each in item.tasks if each.kind is task.kind]
        keys = {each.key for each in kin}
        others = {each.request_hash for each in kin if each is not task}
        first = len(kin) < 2 or kin[0] is task
        return [
            run
            for run in found
            if run.key not in keys
            and run.request_hash not in others
            and (first or run.request_hash == task.request_hash)
        ]

    def limit(self, ref: ObjectRef, task: Task) -> Reason | None:
        """The limit that one more run of an object's task would exceed."""
        settings, gpus = self._settings, task.resources.gpus
        limits: list[tuple[str | None, str, int, int]] = [
            (None, "limits.{}", settings.limit_runs, settings.limit_gpus)
        ]
        tenant = settings.tenants.of_namespace(ref.namespace)
        if tenant is not None:
            whose = f"limits.{{}} of tenant {tenant.name}"
            limits.append((tenant.name, whose, tenant.limit_runs, tenant.limit_gpus))
        for name, key, most_runs, most_gpus in limits:
            if most_runs and self._runs[name] >= most_runs:
                return Reason.of(
                    ReasonCode.RUN_LIMIT_REACHED, limit=most_runs, key=key.format("runs")
                )
            if most_gpus and gpus and self._gpus[name] + gpus > most_gpus:
                code = ReasonCode.GPU_LIMIT_REACHED
                return Reason.of(code, gpus=gpus, limit=most_gpus, key=key.format("gpus"))
        return None

    def add(self, ref: ObjectRef, task: Task) -> None:
        """Count a run that the plan creates."""
        self._count(ref.namespace, task.resources.gpus)

    def _count(self, namespace: str | None, gpus: int) -> None:
        tenant = self._settings.tenants.name_of(namespace) if namespace is not None else None
        for name in {None, tenant}:
            self._runs[name] += 1
            self._gpus[name] += gpus


def _gpus(run: Run, objects: Mapping[ObjectRef, ResolvedObject]) -> int:
    """Return a run's GPUs; its manifest may ask for others now."""
    if run.gpus is not None:
        return run.gpus
    item = objects.get(run.object) if run.object is not None else None
    found = (task for task in item.tasks if task.kind is run.task) if item is not None else ()
    return max((task.resources.gpus for task in found), default=0)


def _slot(name: str) -> str:
    """Return the hash of instance, namespace and key in a run's name."""
    return name.split("-")[-2]
