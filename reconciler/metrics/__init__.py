"""What Prometheus sees; docs/metrics.md is written from this.

Labels never hold anything unbounded: no keys, commits or messages. What is labelled by object is
removed when the object goes, and there is a bound on how many objects that is.
"""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Iterable, Mapping

from prometheus_client import Histogram, disable_created_metrics

from reconciler import __version__
from reconciler.errors import Trouble, trouble_of
from reconciler.forge.webhook import Verdict
from reconciler.metrics.definitions import Definitions
from reconciler.metrics.objects import ObjectSeries
from reconciler.metrics.process import ProcessSeries
from reconciler.metrics.runs import RunSeries
from reconciler.planner import HoldKind, ObjectStatus, Phase, Phases, Plan, TaskPhase
from reconciler.reasons import UnresolvedSource
from reconciler.review import CommitState
from reconciler.types import Kind, ObjectRef, ResolvedSource, TaskKind

# When a series began is no use to anybody here, and would double the counters.
disable_created_metrics()  # type: ignore[no-untyped-call]

#: Objects that have series of their own, unless the configuration says otherwise.
MOST_OBJECTS = 1000
#: Of what the daemon does itself, in seconds.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
#: What a failed call was for.
PLACES = ("fetch", "peers", "push", "engine", "forge")
#: What comes of telling the webhook of notifications.
DELIVERIES = ("sent", "failed")


class Metrics(Definitions):
    """The daemon's metrics, in a registry of their own.

    ``objects`` is how many objects have series of their own.
    """

    def __init__(self, *, objects: int = MOST_OBJECTS) -> None:
        super().__init__()
        self._define_state()
        self._define_work()
        self.runs = RunSeries(self, most=objects)
        self._objects = ObjectSeries(self, most=objects)
        ProcessSeries(self)

    def _define_state(self) -> None:
        self.objects = self.gauge("objects", "Objects, by phase.", "kind", "phase")
        self.tasks = self.gauge(
            "tasks",
            "Tasks of all objects, by phase: Pending and Waiting ones are the queue.",
            "task",
            "phase",
        )
        self.retries_due = self.gauge(
            "retries_due", "Tasks that wait for the delay before they are tried again."
        )
        self.holds = self.gauge("holds", "Holds that wait for a release.", "kind")
        self.held_objects = self.gauge("held_objects", "Objects that a hold keeps as they are.")
        self.problems = self.gauge("manifest_errors", "Errors in the manifests at head.")
        self.unreadable_sources = self.gauge(
            "unreadable_sources", "Git sources that cannot be read now."
        )
        self.leader = self.gauge("leader", "1 if this replica may change anything.")
        self.last_fetch = self.gauge(
            "last_fetch_timestamp_seconds", "When the manifest repository was last fetched."
        )
        self.last_sync = self.gauge(
            "last_sync_timestamp_seconds", "When a plan was last worked out and carried out."
        )
        self.last_push = self.gauge(
            "last_push_timestamp_seconds", "When status files were last pushed."
        )
        build = self.gauge("build_info", "The version that runs.", "version")
        build.labels(__version__).set(1)

    def _define_work(self) -> None:
        self.errors = self.counter(
            "errors_total", "Failed calls to the outside, by what for and why.", "where", "class"
        )
        self.requests = self.counter(
            "api_requests_total",
            "Requests to the cluster's API server, by HTTP status; 0: no answer. A watch is one.",
            "method",
            "code",
        )
        self.webhooks = self.counter("webhooks_total", "Deliveries to /webhook.", "result")
        self.notifications = self.counter(
            "notifications_total", "Deliveries to the webhook of notifications.", "result"
        )
        self.pull_requests = self.gauge("pull_requests", "Open pull requests that are followed.")
        self.reviews = self.counter(
            "reviews_total", "Plans of pull requests, by the commit status they gave.", "result"
        )
        self.fetch_seconds = self._duration("fetch", "A fetch of the manifest repository.")
        self.plan_seconds = self._duration("plan", "Working out a plan.")
        self.apply_seconds = self._duration("apply", "Carrying a plan out.")
        self.sync_seconds = self._duration("sync", "A sync: plan, act and report.")
        self.push_seconds = self._duration("push", "A push of status files.")
        self.head_to_run = self._duration(
            "head_to_run", "From noticing a commit to the first run that it makes."
        )
        for where in PLACES:
            for trouble in Trouble:
                self.errors.labels(where, trouble.value)
        for result in DELIVERIES:
            self.notifications.labels(result)
        for judgement in CommitState:
            self.reviews.labels(judgement.value)
        for verdict in Verdict:
            self.webhooks.labels(verdict.value)

    def _duration(self, what: str, meaning: str) -> Histogram:
        return self.histogram(f"{what}_duration_seconds", meaning, buckets=_SECONDS)

    def failed(self, where: str, error: BaseException) -> None:
        """Count a failed call; ``where`` is one of PLACES."""
        self.errors.labels(where, trouble_of(error).value).inc()

    def asked(self, method: str, status: int) -> None:
        """Count a request to the API server; its HTTP status is 0 where there was no answer."""
        self.requests.labels(method, str(status)).inc()

    def report(
        self, plan: Plan, records: Mapping[ObjectRef, ObjectStatus], phases: Phases, *, errors: int
    ) -> None:
        """Bring everything up to date after a sync; ``errors`` counts those of the manifests."""
        gpus = self.runs.report(plan, records)
        self._objects.tell(records, gpus)
        self._set_counts(phases.counts(), plan.task_counts())
        held = Counted(hold.kind for hold in plan.holds)
        for kind_of_hold in HoldKind:
            self.holds.labels(kind_of_hold.value).set(held[kind_of_hold])
        self.held_objects.set(len({ref for hold in plan.holds for ref in hold.objects}))
        due = (d for each in plan.decided.values() for d in each if d.retry_at is not None)
        self.retries_due.set(sum(1 for _ in due))
        self.problems.set(errors)
        self.last_sync.set_to_current_time()

    def report_sources(self, found: Iterable[ResolvedSource | UnresolvedSource]) -> None:
        """Count those of the sources that were asked for which cannot be read."""
        unread = sum(1 for source in found if isinstance(source, UnresolvedSource))
        self.unreadable_sources.set(unread)

    def clear(self) -> None:
        """Forget what there is: who does not lead does not know. What was counted stays."""
        self.runs.clear()
        self._objects.clear()
        self._set_counts({}, {})
        for kind_of_hold in HoldKind:
            self.holds.labels(kind_of_hold.value).set(0)
        for gauge in (
            self.held_objects, self.retries_due, self.problems, self.unreadable_sources,
            self.pull_requests,
        ):  # fmt: skip
            gauge.set(0)

    def _set_counts(
        self,
        objects: Mapping[tuple[Kind, Phase], int],
        tasks: Mapping[tuple[TaskKind, TaskPhase], int],
    ) -> None:
        for kind in Kind:
            for phase in Phase:
                self.objects.labels(kind.value, phase.value).set(objects.get((kind, phase), 0))
        for task in TaskKind:
            for task_phase in TaskPhase:
                count = tasks.get((task, task_phase), 0)
                self.tasks.labels(task.value, task_phase.value).set(count)
