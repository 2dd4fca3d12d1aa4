"""What is counted of runs as they come, start, are tried again, and go.

An engine says how its runs are, not what has happened to them; the difference to how they were a
sync ago does. What had happened before the first sync is not counted.
"""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from reconciler.engine import FailureClass, Run, RunPhase, RunSpec
from reconciler.metrics.definitions import Definitions
from reconciler.planner import Plan, differing, same_keys
from reconciler.types import How, ObjectRef, TaskKey, TaskKind

RESULTS = ("succeeded", "failed", "infrastructure", "cancelled")
#: Who tried again: the engine within a run, or the daemon by another one.
RETRIERS = ("engine", "daemon")
#: The name under which all objects beyond the bound are counted; no object can be called so.
OTHERS = "(others)"

#: Of runs: from seconds to weeks.
_RUN_SECONDS = (10, 60, 300, 1800, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 3 * 86400, 7 * 86400)
_QUEUE_SECONDS = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 3 * 86400)
_UNDER_WAY = (RunPhase.PENDING, RunPhase.RUNNING)


@dataclass(frozen=True, slots=True)
class _Seen:
    """``started`` is kept, as a cluster forgets it with the pod."""

    run: Run
    gpus: int
    started: datetime | None

    @property
    def under_way(self) -> bool:
        return self.run.phase in _UNDER_WAY


class RunSeries:
    """Counters and histograms of runs; of GPU seconds at most ``most`` objects by name."""

    def __init__(self, definitions: Definitions, *, most: int) -> None:
        self._most = most
        self._runs: Mapping[str, Run] | None = None
        self._seen: dict[str, _Seen] = {}
        self._phases: Counted[tuple[TaskKind, RunPhase]] = Counted()
        self._under_way: set[str] = set()
        self._owners: set[ObjectRef] = set()
        self.runs = definitions.gauge("runs", "Runs that the engine has.", "task", "phase")
        self.gpus_requested = definitions.gauge("gpus_requested", "GPUs that live runs asked for.")
        self.gpus_in_use = definitions.gauge(
            "gpus_in_use", "GPUs of runs whose command has started."
        )
        self.created = definitions.counter("runs_created_total", "Runs created.", "task")
        self.ended = definitions.counter(
            "runs_ended_total",
            "Runs that ended: succeeded, failed (the command), infrastructure (other reasons), "
            "cancelled (while they were pending or running).",
            "task",
            "result",
        )
        self.retries = definitions.counter(
            "retries_total",
            "Attempts after a failed one: the engine's within a run, the daemon's by another run.",
            "task",
            "by",
        )
        self.queue_seconds = definitions.histogram(
            "run_queue_duration_seconds",
            "From the creation of a run to the start of its first command.",
            "task",
            buckets=_QUEUE_SECONDS,
        )
        self.run_seconds = definitions.histogram(
            "run_duration_seconds",
            "From the start of a run's first command to its end.",
            "task",
            "result",
            buckets=_RUN_SECONDS,
        )
        self.gpu_seconds = definitions.counter(
            "gpu_seconds_total",
            "GPU seconds of runs that ended, however they did; all attempts. Objects beyond the "
            f"bound are counted under the name `{OTHERS}`.",
            "kind",
            "namespace",
            "name",
        )
        for task in TaskKind:
            self.created.labels(task.value)
            self.queue_seconds.labels(task.value)
            for by in RETRIERS:
                self.retries.labels(task.value, by)
            for result in RESULTS:
                self.ended.labels(task.value, result)
                self.run_seconds.labels(task.value, result)

    def created_one(self, spec: RunSpec, *, again: bool) -> None:
        """A run was created; ``again``: an earlier one failed, not by its command's fault."""
        self.created.labels(spec.task.value).inc()
        if again:
            self.retries.labels(spec.task.value, "daemon").inc()

    def report(self, plan: Plan, known: Container[ObjectRef]) -> Mapping[ObjectRef, int]:
        """Count what has happened since the last call; answers with the GPUs of live runs.

        ``known`` are the objects that there are.
        """
        runs = plan.situation.runs
        first = self._runs is None
        before = self._runs if self._runs is not None else {}
        # Of most there is nothing new: they have ended, and are what they were.
        names = differing(before, runs) | self._under_way
        looked_at = [runs[name] for name in sorted(names) if name in runs]
        asked = self._asked(plan, looked_at)
        for run in looked_at:
            old = self._seen.get(run.name)
            if old is not None and old.run.created != run.created:
                old = None  # another one, of the same name
            # One that was superseded is in no plan any more; it keeps what it asked for.
            gpus = asked.get((run.key, run.how), old.gpus if old else 0)
            new = _Seen(run, gpus, (old.started if old else None) or run.started)
            self._put(run.name, new)
            if not first:
                self._count(new, old)
            if new.under_way and gpus and run.object is not None and not (old and old.gpus):
                # From 0 on: what a counter begins with does not count as its growth.
                self.gpu_seconds.labels(*self._owner(run.object))
        gone = () if same_keys(before, runs) else self._seen.keys() - runs.keys()
        for name in gone:
            old = self._seen[name]
            self._put(name, None)
            if old.under_way:
                self._count_end(old, "cancelled", plan.situation.now)
        self._runs = dict(runs)  # an engine may go on with the same one
        self._forget(known)
        return self._set_gauges()

    def _asked(self, plan: Plan, runs: Sequence[Run]) -> Mapping[tuple[TaskKey, How], int]:
        """The GPUs that the tasks of these runs ask for, where they are in the plan."""
        keys = {(run.key, run.how) for run in runs}
        owners = {run.object for run in runs if run.object is not None}
        return {
            (d.task.key, d.task.how): d.task.resources.gpus
            for ref in owners | plan.decided.keys()
            for d in plan.decisions_of(ref)
            if d.task.key is not None and (d.task.key, d.task.how) in keys
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
        """Forget what there is; what was counted stays."""
        self._runs = None
        self._seen.clear()
        self._phases.clear()
        self._under_way.clear()
        self._set_gauges()

    def _count(self, new: _Seen, old: _Seen | None) -> None:
        run = new.run
        just_started = new.started if old is None or old.started is None else None
        if just_started is not None and run.created is not None:
            waited = (just_started - run.created).total_seconds()
            self.queue_seconds.labels(run.task.value).observe(max(0.0, waited))
        if old is not None and old.run.attempts:
            again = max(0, run.attempts - old.run.attempts)
            self.retries.labels(run.task.value, "engine").inc(again)
        if not new.under_way and (old is None or old.under_way):
            self._count_end(new, _result(run), run.finished)

    def _count_end(self, seen: _Seen, result: str, finished: datetime | None) -> None:
        run = seen.run
        self.ended.labels(run.task.value, result).inc()
        seconds = 0.0
        if seen.started is not None and finished is not None:
            seconds = max(0.0, (finished - seen.started).total_seconds())
            self.run_seconds.labels(run.task.value, result).observe(seconds)
        told = run.result.gpu_seconds if run.result is not None else 0.0
        used = told or seen.gpus * seconds
        if run.object is not None and used:
            self.gpu_seconds.labels(*self._owner(run.object)).inc(used)

    def _owner(self, ref: ObjectRef) -> tuple[str, str, str]:
        if ref not in self._owners:
            if len(self._owners) >= self._most:
                return "", "", OTHERS
            self._owners.add(ref)
        return _labels(ref)

    def _forget(self, known: Container[ObjectRef]) -> None:
        gone = {ref for ref in self._owners if ref not in known}
        for ref in gone:
            self.gpu_seconds.remove(*_labels(ref))
        self._owners -= gone

    def _set_gauges(self) -> Mapping[ObjectRef, int]:
        for task in TaskKind:
            for phase in RunPhase:
                self.runs.labels(task.value, phase.value).set(self._phases[task, phase])
        live = [self._seen[name] for name in self._under_way]
        started = [one for one in live if one.run.phase is RunPhase.RUNNING]
        self.gpus_requested.set(sum(one.gpus for one in live))
        self.gpus_in_use.set(sum(one.gpus for one in started))
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
