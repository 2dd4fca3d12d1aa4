"""Metrics of single objects, made at a scrape.

They are made from the records of the last sync. Ten thousand objects must not make a hundred
thousand series. So the number of objects with series is bounded, the most urgent come first, and
another metric counts those left out.
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


class ObjectSeries(Collector):
    """Series of at most ``most`` objects, at most nine series each."""

    def __init__(self, definitions: Definitions, *, most: int) -> None:
        self._most = most
        self._records: dict[ObjectRef, ObjectStatus] = {}
        self._gpus: Mapping[ObjectRef, int] = {}
        self._metrics = definitions
        definitions.registry.register(self)

    def update(
        self, records: Mapping[ObjectRef, ObjectStatus], gpus: Mapping[ObjectRef, int]
    ) -> None:
        """Keep a sync's records, at the cost of copying the mapping."""
        self._records = dict(records)
        self._gpus = gpus

    def clear(self) -> None:
        """Forget all records."""
        self._records, self._gpus = {}, {}

    def collect(self) -> Iterator[Metric]:
        """Make all families."""
        now = datetime.now(UTC)
        metrics = self._metrics
        phase, artifact = metrics.object_phase.gauge(), metrics.object_artifact.gauge()
        requested, left_out = metrics.object_gpus.gauge(), metrics.objects_left_out.gauge()
        attempts, seconds = metrics.object_attempts.gauge(), metrics.object_seconds.gauge()
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
        lost = metrics.artifacts_lost.gauge()
        lost.add_metric((), sum(record.artifact_lost for record in self._records.values()))
        yield from (phase, artifact, requested, attempts, seconds, left_out, lost)

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


def _took(task: TaskStatus, now: datetime) -> float | None:
    end = now if task.phase is TaskPhase.RUNNING else task.finished
    if task.started is None or end is None:
        return None
    return max(0.0, (end - task.started).total_seconds())
