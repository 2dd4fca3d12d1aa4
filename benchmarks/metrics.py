"""An exposition of /metrics, by the number of objects and of those with series.

Every object has three tasks, an artifact and a live run on a GPU: the most series that it can have.
The baseline is the same number of series in lines as long, made by hand with prometheus_client in a
registry of their own and exposed by the same call. Both are exposed in turn in one process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from benchmarks.figures import Figure
from reconciler.metrics import MOST_OBJECTS, Metrics
from reconciler.planner.object_status import ObjectStatus
from reconciler.planner.phase_index import Phases
from reconciler.planner.plan import Plan
from reconciler.types import ObjectRef
from tests.metrics.many import many

COUNTS = (100, 1_000, 10_000)
ROUNDS = 15


def measure() -> Iterator[Figure]:
    """Yield a figure for each number of objects and each bound."""
    for count in COUNTS:
        plan, records = many(count)
        for bound in sorted({MOST_OBJECTS, max(MOST_OBJECTS, count)}):
            yield _figure(plan, records, bound)


def _figure(plan: Plan, records: dict[ObjectRef, ObjectStatus], bound: int) -> Figure:
    metrics = Metrics(objects=bound)
    metrics.report(plan, records, Phases(records.values()), errors=())
    text = generate_latest(metrics.registry)
    series = sum(not line.startswith(b"#") for line in text.splitlines())
    raw = by_hand(series, len(text))
    count = len(records)
    return Figure(
        name=f"metrics.{count}" if bound == MOST_OBJECTS else f"metrics.{count}.all",
        title=f"/metrics, {min(bound, count):,} of {count:,} objects",
        baseline=f"{series:,} series made by hand",
        unit="s",
        rounds=[
            (
                _timed(lambda: generate_latest(metrics.registry)),
                _timed(lambda: generate_latest(raw)),
            )
            for _ in range(ROUNDS)
        ],
    )


def by_hand(series: int, size: int) -> CollectorRegistry:
    """As many series, in lines as long on average as those of a text of ``size`` bytes."""
    registry = CollectorRegistry()
    gauge = Gauge("by_hand", "By hand.", ("kind", "namespace", "name", "task"), registry=registry)
    fixed = len('by_hand{kind="Model",name="",namespace="default",task="train"} 1.0\n')
    for number in range(series):
        name = f"{number:05}".ljust(size // series - fixed, "x")
        gauge.labels("Model", "default", name, "train").set(number)
    return registry


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
