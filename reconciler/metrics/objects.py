"""Series of single objects, made at a scrape from what the last sync found.

Ten thousand objects must not make a hundred thousand series. So only so many objects have any,
those first that need somebody, and another metric says how many were left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from reconciler.metrics.definitions import Definitions
from reconciler.planner import URGENCY, ObjectStatus, Phase, TaskPhase, TaskStatus
from reconciler.types import ObjectRef

_OBJECT = ("kind", "namespace", "name")


class ObjectSeries(Collector):
    """At most ``most`` objects, each with at most nine series."""

    def __init__(self, definitions: Definitions, *, most: int) -> None:
        self._most = most
        self._records: dict[ObjectRef, ObjectStatus] = {}
        self._gpus: Mapping[ObjectRef, int] = {}
        self._phase = definitions.define(
            "object_phase", "gauge", "1 for the phase that an object is in.", *_OBJECT, "phase"
        )
        self._artifact = definitions.define(
            "object_artifact_timestamp_seconds",
            "gauge",
            "When an object's current artifact was complete.",
            *_OBJECT,
        )
        self._requested = definitions.define(
            "object_gpus", "gauge", "GPUs that an object's live runs asked for.", *_OBJECT
        )
        self._attempts = definitions.define(
            "object_task_attempts",
            "gauge",
            "How often the command of a task was started, with its present inputs.",
            *_OBJECT,
            "task",
        )
        self._seconds = definitions.define(
            "object_task_duration_seconds",
            "gauge",
            "From the first start of a task, with its present inputs, to its end or to now.",
            *_OBJECT,
            "task",
        )
        self._left_out = definitions.define(
            "objects_left_out", "gauge", "Objects that have no series of their own."
        )
        definitions.registry.register(self)

    def tell(
        self, records: Mapping[ObjectRef, ObjectStatus], gpus: Mapping[ObjectRef, int]
    ) -> None:
        """Take over what a sync has found. Costs no more than a copy of the mapping."""
        self._records = dict(records)
        self._gpus = gpus

    def clear(self) -> None:
        """There is nothing that is known."""
        self._records, self._gpus = {}, {}

    def collect(self) -> Iterator[Metric]:
        """All families, of the objects that are shown."""
        now = datetime.now(UTC)
        phase, artifact = self._phase.gauge(), self._artifact.gauge()
        requested, left_out = self._requested.gauge(), self._left_out.gauge()
        attempts, seconds = self._attempts.gauge(), self._seconds.gauge()
        for record in self._shown():
            labels = (record.ref.kind.value, record.ref.namespace, record.ref.name)
            phase.add_metric((*labels, record.phase.value), 1)
            if (made := _made(record)) is not None:
                artifact.add_metric(labels, made.timestamp())
            if asked := self._gpus.get(record.ref, 0):
                requested.add_metric(labels, asked)
            for task in record.tasks:
                attempts.add_metric((*labels, task.task.value), task.attempts)
                if (took := _took(task, now)) is not None:
                    seconds.add_metric((*labels, task.task.value), took)
        left_out.add_metric((), max(0, len(self._records) - self._most))
        yield from (phase, artifact, requested, attempts, seconds, left_out)

    def _shown(self) -> Iterator[ObjectStatus]:
        """As many as may be, the urgent ones first and of equal ones the first by name."""
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


def _took(task: TaskStatus, now: datetime) -> float | None:
    end = now if task.phase is TaskPhase.RUNNING else task.finished
    if task.started is None or end is None:
        return None
    return max(0.0, (end - task.started).total_seconds())
