"""Definitions of all metrics; docs/metrics.md is written from them.

Labels never hold anything unbounded: no keys, commits or messages. Series that are labelled by
object are removed with the object, and the number of such objects is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

from reconciler import __version__
from reconciler.engine import CollectedKind
from reconciler.errors import Trouble
from reconciler.forge import DeliveryResult
from reconciler.review import CommitState
from reconciler.types import TaskKind

PREFIX = "reconciler_"


@dataclass(frozen=True, slots=True)
class Definition:
    """A metric; ``name`` is the served one, prefixed, a counter's with ``_total``."""

    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str

    def gauge(self) -> GaugeMetricFamily:
        """Make an empty family, to be filled at a scrape."""
        return GaugeMetricFamily(self.name, self.meaning, labels=self.labels)

    def counter(self) -> CounterMetricFamily:
        """Make an empty family, to be filled at a scrape."""
        return CounterMetricFamily(self.name, self.meaning, labels=self.labels)


class Registry:
    """A registry with its definitions; methods take names without the prefix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.defined: list[Definition] = []
        self._values: dict[tuple[Gauge, tuple[str, ...]], float] = {}

    def define(self, name: str, kind: str, meaning: str, *labels: str) -> Definition:
        """Define a metric whose series a collector makes at each scrape."""
        definition = Definition(f"{PREFIX}{name}", kind, labels, meaning)
        self.defined.append(definition)
        return definition

    def gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        """Define a gauge."""
        definition = self.define(name, "gauge", meaning, *labels)
        return Gauge(definition.name, meaning, labels, registry=self.registry)

    def set_value(self, gauge: Gauge, labels: tuple[str, ...], value: float) -> None:
        """Set a series of a gauge.

        Only if it differs: most do not, and to look a series up takes longer.
        """
        if self._values.get((gauge, labels)) != value:
            gauge.labels(*labels).set(value)
            self._values[gauge, labels] = value

    def counter(self, name: str, meaning: str, *labels: str) -> Counter:
        """Define a counter."""
        definition = self.define(name, "counter", meaning, *labels)
        return Counter(definition.name, meaning, labels, registry=self.registry)

    def histogram(
        self, name: str, meaning: str, *labels: str, buckets: Iterable[float]
    ) -> Histogram:
        """Define a histogram of durations; ``buckets`` are upper bounds in seconds."""
        definition = self.define(name, "histogram", meaning, *labels)
        return Histogram(
            definition.name, meaning, labels, buckets=tuple(buckets), registry=self.registry
        )


#: Upper bounds of the daemon's own durations, in seconds.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
#: Upper bounds of the durations of runs, and of their queueing, in seconds: up to weeks.
_RUN_SECONDS = (10, 60, 300, 1800, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 3 * 86400, 7 * 86400)
_QUEUE_SECONDS = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 3 * 86400)

#: Values of ``where``: the purposes of calls that may fail.
PLACES = ("fetch", "clusters", "push", "engine", "forge")
#: Values of ``result``: the outcomes of deliveries to the webhook of notifications.
DELIVERIES = ("sent", "failed")
#: Values of ``result``: what gates decide.
GATE_RESULTS = ("accepted", "rejected")
#: Values of ``result``: the outcomes of runs.
RESULTS = ("succeeded", "failed", "infrastructure", "cancelled")
#: Values of ``by``: the engine retries within a run, the daemon by another run.
RETRIERS = ("engine", "daemon")
#: The name under which all objects beyond the bound are counted; no object can be called so.
OTHERS = "(others)"
_OBJECT = ("kind", "namespace", "name")


class Definitions(Registry):
    """Every metric of the daemon, in one registry."""

    def __init__(self) -> None:
        super().__init__()
        self._define_state()
        self._define_work()
        self._define_runs()
        self._define_objects()
        self._define_process()
        self._preset()

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
        self.holds = self.gauge("holds", "Holds that wait for a release.", "kind", "tenant")
        self.held_objects = self.gauge("held_objects", "Objects that a hold keeps as they are.")
        self.artifacts_lost = self.define(
            "artifacts_lost",
            "gauge",
            "Objects whose artifact was found lost or damaged, and is not made again yet.",
        )
        self.problems = self.gauge(
            "manifest_errors", "Errors in the manifests at head, by their files' tenant.", "tenant"
        )
        self.unreadable_sources = self.gauge(
            "unreadable_sources", "Git sources and observed buckets that cannot be read now."
        )
        self.leader = self.gauge("leader", "1 if this replica may change anything.")
        self.head_refused = self.gauge(
            "head_refused", "1 if the branch's head is not signed by an allowed signer."
        )
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
        self.gates = self.counter(
            "gate_total",
            "Verdicts of gates, each when it is first recorded.",
            "result",
        )
        self.collected_bytes = self.counter(
            "collected_bytes_total",
            "Bytes freed by removing what nothing used; of images, with layers that others share.",
            "what",
        )
        self.fetch_seconds = self._duration("fetch", "A fetch of the manifest repository.")
        self.plan_seconds = self._duration("plan", "Working out a plan.")
        self.apply_seconds = self._duration("apply", "Carrying a plan out.")
        self.sync_seconds = self._duration("sync", "A sync: plan, act and report.")
        self.push_seconds = self._duration("push", "A push of status files.")
        self.head_to_run = self._duration(
            "head_to_run", "From noticing a commit to the first run that it makes."
        )

    def _define_runs(self) -> None:
        self.run_phases = self.gauge("runs", "Runs that the engine has.", "task", "phase")
        self.gpus_requested = self.gauge("gpus_requested", "GPUs that live runs asked for.")
        self.gpus_in_use = self.gauge("gpus_in_use", "GPUs of runs whose command has started.")
        self.runs_created = self.counter("runs_created_total", "Runs created.", "task")
        self.runs_ended = self.counter(
            "runs_ended_total",
            "Runs that ended: succeeded, failed (the command), infrastructure (other reasons), "
            "cancelled (while they were pending or running).",
            "task",
            "result",
        )
        self.run_retries = self.counter(
            "retries_total",
            "Attempts after a failed one: the engine's within a run, the daemon's by another run.",
            "task",
            "by",
        )
        self.run_queue_seconds = self.histogram(
            "run_queue_duration_seconds",
            "From the creation of a run to the start of its first command.",
            "task",
            buckets=_QUEUE_SECONDS,
        )
        self.run_seconds = self.histogram(
            "run_duration_seconds",
            "From the start of a run's first command to its end.",
            "task",
            "result",
            buckets=_RUN_SECONDS,
        )
        self.gpu_seconds = self.counter(
            "gpu_seconds_total",
            "GPU seconds of the pods of runs that ended, however they did; all attempts. Objects "
            f"beyond the bound are counted under the name `{OTHERS}`.",
            "kind",
            "namespace",
            "name",
        )

    def _define_objects(self) -> None:
        self.object_phase = self.define(
            "object_phase", "gauge", "1 for the phase that an object is in.", *_OBJECT, "phase"
        )
        self.object_artifact = self.define(
            "object_artifact_timestamp_seconds",
            "gauge",
            "When an object's current artifact was complete.",
            *_OBJECT,
        )
        self.object_gpus = self.define(
            "object_gpus", "gauge", "GPUs that an object's live runs asked for.", *_OBJECT
        )
        self.object_attempts = self.define(
            "object_task_attempts",
            "gauge",
            "How often the command of a task was started, with its present inputs; of a sweep, "
            "those of all its trainings.",
            *_OBJECT,
            "task",
        )
        self.object_seconds = self.define(
            "object_task_duration_seconds",
            "gauge",
            "From the first start of a task, with its present inputs, to its end or to now; of a "
            "sweep, the sum of its trainings.",
            *_OBJECT,
            "task",
        )
        self.object_variants = self.define(
            "object_variants", "gauge", "Trainings of a sweep, by their phase.", *_OBJECT, "phase"
        )
        self.run_progress = self.define(
            "run_progress_ratio",
            "gauge",
            "How far an object's running task says that it is, from 0 to 1.",
            *_OBJECT,
        )
        self.run_remaining = self.define(
            "run_remaining_seconds",
            "gauge",
            "What an object's running task needs yet, as it says or as its progress gives.",
            *_OBJECT,
        )
        self.run_metric = self.define(
            "run_metric",
            "gauge",
            "A number that an object's running task reports, of at most 20 names each.",
            *_OBJECT,
            "metric",
        )
        self.cost = self.define(
            "cost_total",
            "counter",
            "Estimated cost of the runs of an object that ended in two years, however they did, "
            "by `prices`; also of runs before this process.",
            *_OBJECT,
        )
        self.objects_left_out = self.define(
            "objects_left_out", "gauge", "Objects that have no series of their own."
        )

    def _define_process(self) -> None:
        self.process_cpu = self.define(
            "process_cpu_seconds_total", "counter", "CPU time of the daemon, user and system."
        )
        self.process_memory = self.define(
            "process_resident_memory_bytes", "gauge", "Memory of the daemon that is resident."
        )
        self.process_files = self.define(
            "process_open_fds", "gauge", "File descriptors that the daemon has open."
        )
        self.process_start = self.define(
            "process_start_time_seconds", "gauge", "When the daemon was started."
        )

    def _preset(self) -> None:
        """Make the series of known labels, which begin at 0."""
        for where in PLACES:
            for trouble in Trouble:
                self.errors.labels(where, trouble.value)
        for kind in CollectedKind:
            self.collected_bytes.labels(kind.value)
        for verdict in GATE_RESULTS:
            self.gates.labels(verdict)
        for result in DELIVERIES:
            self.notifications.labels(result)
        for state in CommitState:
            self.reviews.labels(state.value)
        for result in DeliveryResult:
            self.webhooks.labels(result.value)
        self._preset_runs()

    def _preset_runs(self) -> None:
        for task in TaskKind:
            self.runs_created.labels(task.value)
            self.run_queue_seconds.labels(task.value)
            for by in RETRIERS:
                self.run_retries.labels(task.value, by)
            for result in RESULTS:
                self.runs_ended.labels(task.value, result)
                self.run_seconds.labels(task.value, result)

    def _duration(self, name: str, meaning: str) -> Histogram:
        return self.histogram(f"{name}_duration_seconds", meaning, buckets=_SECONDS)
