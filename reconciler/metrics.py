"""What Prometheus sees; docs/metrics.md is written from this.

Labels never hold anything unbounded: no keys, commits or messages. What is labelled by object is
removed when the object goes.
"""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from reconciler import __version__
from reconciler.planner.plan import HoldKind, Plan
from reconciler.planner.record import Phase, Record
from reconciler.run import FailureClass, Run, RunPhase
from reconciler.types import Kind, ObjectRef, TaskKind
from reconciler.webhook import Verdict

#: Of what the daemon does itself, in seconds.
_SECONDS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)
#: Of runs: from seconds to weeks.
_RUN_SECONDS = (10, 60, 300, 1800, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 3 * 86400, 7 * 86400)


class Metrics:
    """The daemon's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._ended: set[str] | None = None
        self._owners: set[ObjectRef] = set()
        self._define_state()
        self._define_runs()
        self._define_work()

    def _define_state(self) -> None:
        self.objects = self._gauge("objects", "Objects, by phase.", "kind", "phase")
        self.runs = self._gauge("runs", "Runs that the engine has.", "task", "phase")
        self.gpus_requested = self._gauge("gpus_requested", "GPUs that live runs asked for.")
        self.gpus_in_use = self._gauge("gpus_in_use", "GPUs of runs whose command has started.")
        self.holds = self._gauge("holds", "Holds that wait for a release.", "kind")
        self.problems = self._gauge("manifest_errors", "Errors in the manifests at head.")
        self.leader = self._gauge("leader", "1 if this replica may change anything.")
        self.last_fetch = self._gauge(
            "last_fetch_timestamp_seconds", "When the manifest repository was last fetched."
        )
        self.last_sync = self._gauge(
            "last_sync_timestamp_seconds", "When a plan was last worked out and carried out."
        )
        self.last_push = self._gauge(
            "last_push_timestamp_seconds", "When status files were last pushed."
        )
        build = self._gauge("build_info", "The version that runs.", "version")
        build.labels(__version__).set(1)

    def _define_runs(self) -> None:
        self.created = self._counter("runs_created_total", "Runs created.", "task")
        self.ended = self._counter(
            "runs_ended_total",
            "Runs that ended: succeeded, failed (the command), infrastructure (all else).",
            "task",
            "result",
        )
        self.run_seconds = self._histogram(
            "run_duration_seconds",
            "From the start of a run's first command to its end.",
            "task",
            "result",
            buckets=_RUN_SECONDS,
        )
        self.gpu_seconds = self._counter(
            "gpu_seconds_total",
            "GPU seconds of runs that succeeded, all attempts.",
            "kind",
            "namespace",
            "name",
        )
        for task in TaskKind:
            self.created.labels(task.value)
            for result in ("succeeded", "failed", "infrastructure"):
                self.ended.labels(task.value, result)

    def _define_work(self) -> None:
        self.errors = self._counter(
            "errors_total", "Failed calls to the outside: fetch, push, engine.", "where"
        )
        self.webhooks = self._counter("webhooks_total", "Deliveries to /webhook.", "result")
        self.fetch_seconds = self._duration("fetch", "A fetch of the manifest repository.")
        self.plan_seconds = self._duration("plan", "Working out a plan.")
        self.apply_seconds = self._duration("apply", "Carrying a plan out.")
        self.sync_seconds = self._duration("sync", "A sync: plan, act and report.")
        self.push_seconds = self._duration("push", "A push of status files.")
        self.head_to_run = self._duration(
            "head_to_run", "From noticing a commit to the first run that it makes."
        )
        for where in ("fetch", "push", "engine"):
            self.errors.labels(where)
        for verdict in Verdict:
            self.webhooks.labels(verdict.value)

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(f"reconciler_{name}", documentation, labels, registry=self.registry)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"reconciler_{name}", documentation, labels, registry=self.registry)

    def _histogram(
        self, name: str, documentation: str, *labels: str, buckets: Iterable[float]
    ) -> Histogram:
        return Histogram(
            f"reconciler_{name}",
            documentation,
            labels,
            buckets=tuple(buckets),
            registry=self.registry,
        )

    def _duration(self, what: str, documentation: str) -> Histogram:
        return self._histogram(f"{what}_duration_seconds", documentation, buckets=_SECONDS)

    def report(self, plan: Plan, records: Mapping[ObjectRef, Record], errors: int) -> None:
        """Bring everything up to date after a sync; ``errors`` counts those of the manifests."""
        objects = Counted((record.ref.kind, record.phase) for record in records.values())
        for kind in Kind:
            for phase in Phase:
                self.objects.labels(kind.value, phase.value).set(objects[kind, phase])
        self._report_runs(plan.situation.runs.values())
        self._report_gpus(plan)
        held = Counted(hold.kind for hold in plan.holds)
        for kind_of_hold in HoldKind:
            self.holds.labels(kind_of_hold.value).set(held[kind_of_hold])
        self.problems.set(errors)
        self.last_sync.set_to_current_time()
        for ref in self._owners - records.keys():
            self.gpu_seconds.remove(ref.kind.value, ref.namespace, ref.name)
        self._owners &= records.keys()

    def _report_runs(self, runs: Iterable[Run]) -> None:
        runs = list(runs)
        counted = Counted((run.task, run.phase) for run in runs)
        for task in TaskKind:
            for phase in RunPhase:
                self.runs.labels(task.value, phase.value).set(counted[task, phase])
        ended = {run.name for run in runs if not run.live}
        if self._ended is not None:  # what had ended before this process began is not counted
            for run in runs:
                if run.name in ended - self._ended:
                    self._count_end(run)
        self._ended = ended

    def _count_end(self, run: Run) -> None:
        if run.phase is RunPhase.SUCCEEDED:
            result = "succeeded"
        else:
            result = "failed" if run.failure is FailureClass.COMMAND else "infrastructure"
        self.ended.labels(run.task.value, result).inc()
        if run.started is not None and run.finished is not None:
            seconds = max(0.0, (run.finished - run.started).total_seconds())
            self.run_seconds.labels(run.task.value, result).observe(seconds)
        if run.object is not None and run.result is not None and run.result.gpu_seconds:
            ref = run.object
            self._owners.add(ref)
            labels = self.gpu_seconds.labels(ref.kind.value, ref.namespace, ref.name)
            labels.inc(run.result.gpu_seconds)

    def _report_gpus(self, plan: Plan) -> None:
        gpus = {(d.task.key, d.task.how): d.task.resources.gpus for d in plan.decisions}
        live = [run for run in plan.situation.runs.values() if run.live]
        self.gpus_requested.set(sum(gpus.get((run.key, run.how), 0) for run in live))
        started = [run for run in live if run.phase is RunPhase.RUNNING]
        self.gpus_in_use.set(sum(gpus.get((run.key, run.how), 0) for run in started))
