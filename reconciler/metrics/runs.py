"""Metrics of runs: creations, starts, retries and ends.

An engine reports the state of its runs and no events; the difference to the state of the last sync
gives them. Events before the first sync are not counted.
"""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from reconciler.engine import FailureClass, Run, RunPhase, RunSpec
from reconciler.metrics.definitions import OTHERS, Definitions
from reconciler.planner import Plan, differing, same_keys
from reconciler.types import ExecutionHash, ObjectRef, TaskKey, TaskKind

_UNDER_WAY = (RunPhase.PENDING, RunPhase.RUNNING)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A run as of the last sync.

    ``started`` is kept, as a cluster forgets it with the pod.
    """

    run: Run
    gpus: int
    started: datetime | None

    @property
    def under_way(self) -> bool:
        return self.run.phase in _UNDER_WAY


class RunSeries:
    """Counters and histograms of runs.

    GPU seconds are counted by name for at most ``most`` objects.
    """

    def __init__(self, definitions: Definitions, *, most: int) -> None:
        self._most = most
        self._runs: Mapping[str, Run] | None = None
        self._seen: dict[str, _Seen] = {}
        self._phases: Counted[tuple[TaskKind, RunPhase]] = Counted()
        self._under_way: set[str] = set()
        self._owners: set[ObjectRef] = set()
        self._metrics = definitions

    def created_one(self, spec: RunSpec, *, again: bool) -> None:
        """Count a run that was created.

        ``again``: an earlier run failed, not by its command's fault.
        """
        self._metrics.runs_created.labels(spec.task.value).inc()
        if again:
            self._metrics.run_retries.labels(spec.task.value, "daemon").inc()

    def report(self, plan: Plan, known: Container[ObjectRef]) -> Mapping[ObjectRef, int]:
        """Count the events since the last call; return live runs' GPUs.

        The GPUs are by object. ``known`` are the objects that exist.
        """
        runs = plan.inputs.runs
        first = self._runs is None
        before = self._runs if self._runs is not None else {}
        # Most runs have ended and have not changed.
        names = differing(before, runs) | self._under_way
        changed = [runs[name] for name in sorted(names) if name in runs]
        asked = self._asked(plan, changed)
        for run in changed:
            old = self._seen.get(run.name)
            if old is not None and old.run.created != run.created:
                old = None  # another run of the same name
            # A superseded run is in no plan any more; it keeps its number of GPUs.
            gpus = asked.get((run.key, run.execution_hash), old.gpus if old else 0)
            started = (old.started if old else None) or run.started
            new = _Seen(run, gpus, None if run.suspended else started)
            self._put(run.name, new)
            if not first:
                self._count(new, old)
            if new.under_way and gpus and run.object is not None and not (old and old.gpus):
                # From 0 on: the first value of a counter is no growth to Prometheus.
                self._metrics.gpu_seconds.labels(*self._owner(run.object))
        gone = () if same_keys(before, runs) else self._seen.keys() - runs.keys()
        for name in gone:
            old = self._seen[name]
            self._put(name, None)
            if old.under_way:
                self._count_end(old, "cancelled", plan.inputs.now)
        self._runs = dict(runs)  # an engine may reuse its mapping
        self._forget(known)
        return self._set_gauges()

    def _asked(
        self, plan: Plan, runs: Sequence[Run]
    ) -> Mapping[tuple[TaskKey, ExecutionHash], int]:
        """Return the GPUs that these runs' tasks request in the plan."""
        keys = {(run.key, run.execution_hash) for run in runs}
        owners = {run.object for run in runs if run.object is not None}
        return {
            (d.task.key, d.task.execution_hash): d.task.resources.gpus
            for ref in owners | plan.decided.keys()
            for d in plan.decisions_of(ref)
            if d.task.key is not None and (d.task.key, d.task.execution_hash) in keys
        }

    def _put(self, name: str, new: _Seen | None) -> None:
        old = self._seen.pop(name, None)
        if old is not None:
            self._phases[old.run.task, old.run.phase] -= 1
        self._under_way.discard(name)
        if new is not None:
            self._seen[name] = new
            self._phases[new.run.task, new.run.phase] += 1
            if new.under_way:
                self._under_way.add(name)

    def clear(self) -> None:
        """Reset the gauges; counters keep their values."""
        self._runs = None
        self._seen.clear()
        self._phases.clear()
        self._under_way.clear()
        self._set_gauges()

    def _count(self, new: _Seen, old: _Seen | None) -> None:
        run = new.run
        just_started = new.started if old is None or old.started is None else None
        since = (old.run.suspended if old is not None else None) or run.created
        if just_started is not None and since is not None:
            waited = (just_started - since).total_seconds()
            self._metrics.run_queue_seconds.labels(run.task.value).observe(max(0.0, waited))
        if old is not None and old.started is not None and run.suspended is not None:
            self._count_gpu_seconds(old, run.suspended)
        if old is not None and old.run.attempts:
            again = max(0, run.attempts - old.run.attempts)
            self._metrics.run_retries.labels(run.task.value, "engine").inc(again)
        if not new.under_way and (old is None or old.under_way):
            self._count_end(new, _result(run), run.finished)

    def _count_end(self, seen: _Seen, result: str, finished: datetime | None) -> None:
        run = seen.run
        self._metrics.runs_ended.labels(run.task.value, result).inc()
        seconds = 0.0
        if seen.started is not None and finished is not None:
            seconds = max(0.0, (finished - seen.started).total_seconds())
            self._metrics.run_seconds.labels(run.task.value, result).observe(seconds)
        self._count_gpu_seconds(seen, finished)

    def _count_gpu_seconds(self, seen: _Seen, end: datetime | None) -> None:
        """Count those of pods that have ended, or were taken away."""
        run, began = seen.run, seen.run.placed or seen.started
        measured = max(0.0, run.result.gpu_seconds) if run.result is not None else 0.0
        occupied = 0.0
        if began is not None and end is not None:
            occupied = seen.gpus * max(0.0, (end - began).total_seconds())
        # The pod's time; what the command measured where the times of its pods are gone.
        used = occupied or measured
        if run.object is not None and used:
            self._metrics.gpu_seconds.labels(*self._owner(run.object)).inc(used)

    def _owner(self, ref: ObjectRef) -> tuple[str, str, str]:
        if ref not in self._owners:
            if len(self._owners) >= self._most:
                return "", "", OTHERS
            self._owners.add(ref)
        return _labels(ref)

    def _forget(self, known: Container[ObjectRef]) -> None:
        gone = {ref for ref in self._owners if ref not in known}
        for ref in gone:
            self._metrics.gpu_seconds.remove(*_labels(ref))
        self._owners -= gone

    def _set_gauges(self) -> Mapping[ObjectRef, int]:
        for task in TaskKind:
            for phase in RunPhase:
                labels, count = (task.value, phase.value), self._phases[task, phase]
                self._metrics.set_value(self._metrics.run_phases, labels, count)
        live = [self._seen[name] for name in self._under_way]
        started = [one for one in live if one.run.phase is RunPhase.RUNNING]
        self._metrics.gpus_requested.set(sum(one.gpus for one in live))
        self._metrics.gpus_in_use.set(sum(one.gpus for one in started))
        of: Counted[ObjectRef] = Counted()
        for one in live:
            if one.run.object is not None:
                of[one.run.object] += one.gpus
        return of


def _labels(ref: ObjectRef) -> tuple[str, str, str]:
    return ref.kind.value, ref.namespace, ref.name


def _result(run: Run) -> str:
    if run.phase is RunPhase.SUCCEEDED:
        return "succeeded"
    if run.deleting:
        return "cancelled"
    return "failed" if run.failure is FailureClass.COMMAND else "infrastructure"
