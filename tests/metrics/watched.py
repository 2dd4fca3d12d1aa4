"""Metrics that watch a world of the planner, as a daemon's watch what it syncs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from reconciler.metrics import Metrics
from reconciler.planner.object_status import HistoryEntry, ObjectStatus
from reconciler.planner.phase_index import Phases
from reconciler.planner.plan import Plan
from reconciler.types import ObjectRef, TaskKind
from tests.planner.world import World, model, scratch

DOCS = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
GPU = ", resources: {gpu: {type: t4, count: 2}}"


def report(metrics: Metrics, plan: Plan, records: Mapping[ObjectRef, ObjectStatus]) -> None:
    """As a daemon does after a sync that found no errors."""
    metrics.report(plan, records, Phases(records.values()), errors=())


class Watched:
    """A world, and the metrics of a daemon that has just begun to look at it."""

    def __init__(self, *, objects: int = 1000, **files: str) -> None:
        self.world = World(files={f"{name}.yaml": text for name, text in files.items()})
        self.metrics = Metrics(objects=objects)
        self.sync()

    def sync(self) -> None:
        """Two rounds, so that what the first one did is seen."""
        for _ in range(2):
            plan = self.world.sync()
            report(self.metrics, plan, self.world.records)

    def build(self) -> None:
        self.world.succeed(next(n for n in self.world.live() if "-b-" in n))
        self.sync()

    @classmethod
    def trains(cls, more: str = "", *, started: bool = False) -> tuple[Watched, str]:
        """A Model ``a`` that is built, and the run of its training."""
        watched = cls(a=scratch("a", more))
        watched.build()
        run = watched.run("a")
        if started:
            watched.world.start(run)
            watched.sync()
        return watched, run

    def run(self, name: str, task: TaskKind = TaskKind.TRAIN) -> str:
        return self.world.run_of(name, task)

    def value(self, metric: str, /, **labels: str) -> float | None:
        return value(self.metrics, metric, **labels)

    def history(self, name: str) -> tuple[HistoryEntry, ...]:
        return self.world.records[model(name)].history

    def wait(self, seconds: float) -> None:
        self.world.now += timedelta(seconds=seconds)


def value(metrics: Metrics, metric: str, /, **labels: str) -> float | None:
    """The value of one series, None if there is none."""
    return metrics.registry.get_sample_value(f"reconciler_{metric}", labels)


def families(metrics: Metrics) -> Iterator[Metric]:
    yield from text_string_to_metric_families(generate_latest(metrics.registry).decode())


def documented() -> dict[str, tuple[str, set[str]]]:
    """Type and labels of each metric, by the name under which it is served."""
    row = re.compile(r"^\| `(reconciler_\w+)` \| (\w+) \| (.*?) \| (.+) \|$", re.MULTILINE)
    rows = row.findall(DOCS.read_text())
    return {name: (kind, set(re.findall(r"\w+", labels))) for name, kind, labels, _ in rows}


def served(found: Iterable[Metric]) -> dict[str, tuple[str, set[str]]]:
    """The same, of what is served."""
    told = {}
    for family in found:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        # Of what there is nothing just now, only the name and the type are served.
        told[name] = (family.type, labels if family.samples else documented()[name][1])
    return told
