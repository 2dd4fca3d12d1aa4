"""Metrics of the daemon, of its process, and of single objects.

Those of objects are made at a scrape from the records of the last sync. Ten thousand objects must
not make a hundred thousand series: the number of objects with series is bounded, the most urgent
come first, and another metric counts those left out.
"""

from __future__ import annotations

from collections import Counter as Counted
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

import psutil
import structlog
from prometheus_client import disable_created_metrics
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from reconciler.engine import Collected, Progress, RunSpec
from reconciler.errors import trouble_of
from reconciler.metrics.definitions import Definitions
from reconciler.metrics.runs import RunSeries
from reconciler.planner import (
    URGENCY,
    HoldKind,
    ObjectStatus,
    Phase,
    Phases,
    Plan,
    TaskPhase,
    TaskStatus,
    Verdict,
)
from reconciler.reasons import UnresolvedSource
from reconciler.review import Latest, progress_of
from reconciler.types import FoundSource, Kind, ObjectRef, Problem, TaskKind

#: Phases of objects whose running task may report progress.
_REPORTING = (Phase.LOADING, Phase.TRAINING, Phase.EVALUATING)


class ObjectSeries(Collector):
    """Series of at most ``most`` objects, at most 40 series each."""

    def __init__(
        self, definitions: Definitions, *, most: int, latest: Latest | None = None
    ) -> None:
        self._most = most
        self._latest = latest
        self._records: dict[ObjectRef, ObjectStatus] = {}
        #: Objects whose artifact is lost, counted at the first scrape after a sync.
        self._lost: int | None = None
        self._gpus: Mapping[ObjectRef, int] = {}
        self._priced = False
        self._metrics = definitions
        definitions.registry.register(self)

    def update(
        self,
        records: Mapping[ObjectRef, ObjectStatus],
        gpus: Mapping[ObjectRef, int],
        *,
        priced: bool,
    ) -> None:
        """Keep a sync's records, at the cost of copying the mapping.

        Costs have series where there are prices.
        """
        self._records, self._lost, self._priced = dict(records), None, priced
        self._gpus = gpus

    def clear(self) -> None:
        """Forget all records."""
        self._records, self._lost, self._gpus = {}, None, {}

    def collect(self) -> Iterator[Metric]:
        """Make all families."""
        now = datetime.now(UTC)
        metrics = self._metrics
        phase, artifact = metrics.object_phase.gauge(), metrics.object_artifact.gauge()
        requested, left_out = metrics.object_gpus.gauge(), metrics.objects_left_out.gauge()
        attempts, seconds = metrics.object_attempts.gauge(), metrics.object_seconds.gauge()
        cost, shown = metrics.cost.counter(), list(self._shown())
        variants = metrics.object_variants.gauge()
        for record in shown:
            labels = (record.ref.kind.value, record.ref.namespace, record.ref.name)
            phase.add_metric((*labels, record.phase.value), 1)
            if (made := _made(record)) is not None:
                artifact.add_metric(labels, made.timestamp())
            if asked := self._gpus.get(record.ref, 0):
                requested.add_metric(labels, asked)
            if self._priced:
                cost.add_metric(labels, sum(record.spent.values()))
            for task, (tried, took) in _totals(record, now).items():
                attempts.add_metric((*labels, task.value), tried)
                if took is not None:
                    seconds.add_metric((*labels, task.value), took)
            if record.variants:
                counts = Counted(variant.phase for variant in record.variants)
                for variant_phase, count in sorted(counts.items()):
                    variants.add_metric((*labels, variant_phase.value), count)
        left_out.add_metric((), max(0, len(self._records) - self._most))
        lost = metrics.artifacts_lost.gauge()
        if self._lost is None:
            self._lost = sum(record.artifact_lost for record in self._records.values())
        lost.add_metric((), self._lost)
        yield from (phase, artifact, requested, attempts, seconds, variants, cost, left_out, lost)
        yield from self._reported(shown, now)

    def _reported(self, shown: Iterable[ObjectStatus], now: datetime) -> tuple[Metric, ...]:
        """Return the families of what running tasks report."""
        metrics = self._metrics
        ratio, remaining = metrics.run_progress.gauge(), metrics.run_remaining.gauge()
        reported = metrics.run_metric.gauge()
        for record in shown:
            progress = self._progress(record)
            if progress is None:
                continue
            labels = (record.ref.kind.value, record.ref.namespace, record.ref.name)
            if progress.ratio is not None:
                ratio.add_metric(labels, progress.ratio)
            if (left := progress.remaining_at(now)) is not None:
                remaining.add_metric(labels, left)
            for name, value in list(progress.metrics.items())[:MOST_RUN_METRICS]:
                reported.add_metric((*labels, name), value)
        return ratio, remaining, reported

    def _progress(self, record: ObjectStatus) -> Progress | None:
        if self._latest is None or record.phase not in _REPORTING:
            return None
        return progress_of(record, self._latest)

    def _shown(self) -> Iterator[ObjectStatus]:
        """Yield at most ``most`` records: by urgency, then by name."""
        if len(self._records) <= self._most:
            yield from self._records.values()
            return
        by_phase: dict[Phase, list[ObjectStatus]] = defaultdict(list)
        for record in self._records.values():
            by_phase[record.phase].append(record)
        left = self._most
        for phase in URGENCY:
            found = by_phase[phase]
            if len(found) > left:
                found = sorted(found, key=lambda record: record.ref)[:left]
            yield from found
            left -= len(found)


def _made(record: ObjectStatus) -> datetime | None:
    if record.artifact is None:
        return None
    for entry in reversed(record.history):
        if entry.key == record.artifact.key and entry.phase is TaskPhase.SUCCEEDED:
            return entry.finished
    return None


def _totals(record: ObjectStatus, now: datetime) -> Mapping[TaskKind, tuple[int, float | None]]:
    """Return the attempts and seconds of each kind of task.

    A sweep has many trainings.
    """
    found: dict[TaskKind, tuple[int, float | None]] = {}
    for task in record.tasks:
        took, known = _took(task, now), found.get(task.task)
        if known is None:
            found[task.task] = task.attempts, took
        else:
            times = [each for each in (known[1], took) if each is not None]
            found[task.task] = known[0] + task.attempts, sum(times) if times else None
    return found


def _took(task: TaskStatus, now: datetime) -> float | None:
    end = now if task.phase is TaskPhase.RUNNING else task.finished
    if task.started is None or end is None:
        return None
    return max(0.0, (end - task.started).total_seconds())


log = structlog.get_logger(__name__)

#: Metrics of a run that have series of their own: those that were reported first.
MOST_RUN_METRICS = 20
#: Objects that have series of their own, unless the configuration says otherwise.
MOST_OBJECTS = 1000
#: The label of what is of no tenant, or of all of them.
NOBODY = ""

# The time when a series began is of no use here, and would double the counters.
disable_created_metrics()  # type: ignore[no-untyped-call]


@contextmanager
def _harmless() -> Iterator[None]:
    """Log an error of the block: a metric never ends a sync."""
    try:
        yield
    except Exception as error:
        log.warning("metrics could not be updated", error=repr(error), exc_info=True)


class Metrics(Definitions):
    """The daemon's metrics, in a registry of their own.

    ``objects`` is how many objects have series of their own. No method raises an error of a value
    that it is given. ``latest`` is the progress of runs.
    """

    def __init__(self, *, objects: int = MOST_OBJECTS, latest: Latest | None = None) -> None:
        super().__init__()
        self._tenants: tuple[str, ...] = (NOBODY,)
        self.runs = RunSeries(self, most=objects)
        self._objects = ObjectSeries(self, most=objects, latest=latest)
        ProcessSeries(self)

    def failed(self, where: str, error: BaseException) -> None:
        """Count a failed call; ``where`` is one of PLACES."""
        with _harmless():
            self.errors.labels(where, trouble_of(error).value).inc()

    def created(self, spec: RunSpec, *, again: bool) -> None:
        """Count a run that was created.

        ``again``: an earlier run failed, not by its command's fault.
        """
        with _harmless():
            self.runs.created_one(spec, again=again)

    def asked(self, method: str, status: int) -> None:
        """Count a request to the API server.

        ``status`` is the HTTP status, 0 where there was no answer.
        """
        self.requests.labels(method, str(status)).inc()

    def gated(self, found: Iterable[Verdict]) -> None:
        """Count verdicts that are recorded for the first time."""
        for verdict in found:
            self.gates.labels(verdict.value.lower()).inc()

    def collected(self, found: Iterable[Collected]) -> None:
        """Count what an engine has removed."""
        for one in found:
            self.collected_bytes.labels(one.kind.value).inc(max(0, one.freed))

    def report(
        self,
        plan: Plan,
        records: Mapping[ObjectRef, ObjectStatus],
        phases: Phases,
        *,
        errors: Iterable[Problem],
    ) -> None:
        """Update all metrics after a sync; ``errors`` are those of manifests."""
        gpus: Mapping[ObjectRef, int] = {}
        with _harmless():
            gpus = self.runs.report(plan, records)
        with _harmless():
            priced = bool(plan.inputs.settings.prices)
            self._objects.update(records, gpus, priced=priced)
            self._set_counts(phases.counts(), plan.task_counts())
            tenants = plan.inputs.settings.tenants
            self._tenants = (NOBODY, *(tenant.name for tenant in tenants.members))
            owners = (tenants.of_path(error.location.file) for error in errors)
            self._set_waiting(
                Counted((hold.kind, hold.tenant or NOBODY) for hold in plan.holds),
                Counted(owner.name if owner is not None else NOBODY for owner in owners),
            )
            self.held_objects.set(len({ref for hold in plan.holds for ref in hold.objects}))
            due = (d for each in plan.decided.values() for d in each if d.retry_at is not None)
            self.retries_due.set(sum(1 for _ in due))
        self.last_sync.set_to_current_time()

    def report_sources(self, found: Iterable[FoundSource | UnresolvedSource]) -> None:
        """Count the sources that cannot be read."""
        unread = sum(1 for source in found if isinstance(source, UnresolvedSource))
        self.unreadable_sources.set(unread)

    def clear(self) -> None:
        """Reset the gauges, as on a replica that does not lead.

        Counters keep their values.
        """
        self.runs.clear()
        self._objects.clear()
        self._set_counts({}, {})
        self._set_waiting({}, {})
        for gauge in (
            self.held_objects, self.retries_due, self.unreadable_sources, self.pull_requests,
        ):  # fmt: skip
            gauge.set(0)

    def _set_waiting(
        self, holds: Mapping[tuple[HoldKind, str], int], errors: Mapping[str, int]
    ) -> None:
        """Set what waits for users, of each tenant."""
        for tenant in self._tenants:
            for kind in HoldKind:
                self.set_value(self.holds, (kind.value, tenant), holds.get((kind, tenant), 0))
            self.set_value(self.problems, (tenant,), errors.get(tenant, 0))

    def _set_counts(
        self,
        objects: Mapping[tuple[Kind, Phase], int],
        tasks: Mapping[tuple[TaskKind, TaskPhase], int],
    ) -> None:
        for kind in Kind:
            for phase in Phase:
                labels = kind.value, phase.value
                self.set_value(self.objects, labels, objects.get((kind, phase), 0))
        for task in TaskKind:
            for task_phase in set(TaskPhase) - {TaskPhase.INTERRUPTED}:
                count = tasks.get((task, task_phase), 0)
                self.set_value(self.tasks, (task.value, task_phase.value), count)


class ProcessSeries(Collector):
    """The usual process metrics of Prometheus' clients, on every system."""

    def __init__(self, definitions: Definitions) -> None:
        self._metrics = definitions
        self._process = psutil.Process()
        definitions.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Make one family per metric."""
        with self._process.oneshot():
            times = self._process.cpu_times()
            cpu = self._metrics.process_cpu.counter()
            cpu.add_metric((), times.user + times.system)
            yield cpu
            for definition, value in (
                (self._metrics.process_memory, self._process.memory_info().rss),
                (self._metrics.process_files, self._process.num_fds()),
                (self._metrics.process_start, self._process.create_time()),
            ):
                family = definition.gauge()
                family.add_metric((), value)
                yield family
