"""What Prometheus sees. Labels never hold anything unbounded: no keys, commits or messages."""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from reconciler import __version__
from reconciler.planner.plan import Plan
from reconciler.planner.record import Phase, Record
from reconciler.run import RunPhase
from reconciler.types import Kind, ObjectRef, TaskKind
from reconciler.webhook import Verdict

_SECONDS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)


class Metrics:
    """The daemon's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.objects = Gauge(
            "reconciler_objects",
            "Objects by kind and phase.",
            ["kind", "phase"],
            registry=self.registry,
        )
        self.runs = Gauge(
            "reconciler_runs",
            "Runs that the engine has, by task and phase.",
            ["task", "phase"],
            registry=self.registry,
        )
        self.gpus = Gauge(
            "reconciler_gpus_requested", "GPUs that live runs asked for.", registry=self.registry
        )
        self.holds = Gauge(
            "reconciler_holds",
            "Holds that wait for a release, by kind.",
            ["kind"],
            registry=self.registry,
        )
        self.problems = Gauge(
            "reconciler_manifest_errors", "Errors in the manifests at head.", registry=self.registry
        )
        self.created = Counter(
            "reconciler_runs_created_total",
            "Runs created, by task.",
            ["task"],
            registry=self.registry,
        )
        self.errors = Counter(
            "reconciler_errors_total",
            "Failed calls to the outside, by where: fetch, push, engine.",
            ["where"],
            registry=self.registry,
        )
        self.webhooks = Counter(
            "reconciler_webhooks_total",
            "Deliveries to /webhook, by result: accepted, ignored, duplicate, refused.",
            ["result"],
            registry=self.registry,
        )
        self.fetch_seconds = self._histogram("fetch", "A fetch of the manifest repository.")
        self.plan_seconds = self._histogram("plan", "Working out a plan.")
        self.sync_seconds = self._histogram("sync", "A sync: read, plan, act and report.")
        self.push_seconds = self._histogram("push", "A push of status files.")
        self.last_fetch = Gauge(
            "reconciler_last_fetch_timestamp_seconds",
            "When the manifest repository was last fetched.",
            registry=self.registry,
        )
        build = Gauge("reconciler_build_info", "The version.", ["version"], registry=self.registry)
        build.labels(__version__).set(1)
        for where in ("fetch", "push", "engine"):
            self.errors.labels(where)
        for task in TaskKind:
            self.created.labels(task.value)
        for verdict in Verdict:
            self.webhooks.labels(verdict.value)

    def _histogram(self, what: str, documentation: str) -> Histogram:
        return Histogram(
            f"reconciler_{what}_duration_seconds",
            documentation,
            buckets=_SECONDS,
            registry=self.registry,
        )

    def report(self, plan: Plan, records: Mapping[ObjectRef, Record], errors: int) -> None:
        """Set the gauges after a sync; ``errors`` counts those of the manifests."""
        objects = Counted((record.ref.kind, record.phase) for record in records.values())
        for kind in Kind:
            for phase in Phase:
                self.objects.labels(kind.value, phase.value).set(objects[kind, phase])
        runs = Counted((run.task, run.phase) for run in plan.situation.runs.values())
        for task in TaskKind:
            for run_phase in RunPhase:
                self.runs.labels(task.value, run_phase.value).set(runs[task, run_phase])
        live = {(r.key, r.how) for r in plan.situation.runs.values() if r.live}
        self.gpus.set(
            sum(
                decision.task.resources.gpus
                for decision in plan.decisions
                if (decision.task.key, decision.task.how) in live
            )
        )
        held = Counted(hold.kind.value for hold in plan.holds)
        for kind_of_hold in ("guard", "prune"):
            self.holds.labels(kind_of_hold).set(held[kind_of_hold])
        self.problems.set(errors)
