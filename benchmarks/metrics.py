"""What /metrics costs, by how many objects there are and how many may have series of their own.

Every object has three tasks, an artifact and a live run on a GPU: the most series that it can have.
The baseline is the same number of series in lines as long, made by hand with prometheus_client in a
registry of their own and exposed by the same call. Both are exposed in turn in one process.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from reconciler.metrics import MOST_OBJECTS, Metrics
from reconciler.planner.object_status import ObjectStatus
from reconciler.planner.phase_index import Phases
from reconciler.planner.plan import Plan
from reconciler.types import ObjectRef
from tests.metrics.many import many

COUNTS = (100, 1_000, 10_000)
ROUNDS = 15


def main() -> None:
    """Print a row for each number of objects and each bound."""
    print(
        f"{'objects':>8}{'bound':>8}{'series':>9}{'kB':>8}{'expose ms':>11}{'by hand':>9}"
        f"{'ratio':>7}{'worst':>7}{'sync ms':>9}"
    )
    for count in COUNTS:
        plan, records = many(count)
        for bound in sorted({MOST_OBJECTS, max(MOST_OBJECTS, count)}):
            _row(plan, records, bound)


def _row(plan: Plan, records: dict[ObjectRef, ObjectStatus], bound: int) -> None:
    metrics = Metrics(objects=bound)
    phases = Phases(records.values())
    metrics.report(plan, records, phases, errors=())
    told = [_timed(lambda: metrics.report(plan, records, phases, errors=())) for _ in range(ROUNDS)]
    text = generate_latest(metrics.registry)
    series = sum(not line.startswith(b"#") for line in text.splitlines())
    raw = by_hand(series, len(text))
    pairs = [
        (
            _timed(lambda: generate_latest(metrics.registry)),
            _timed(lambda: generate_latest(raw)),
        )
        for _ in range(ROUNDS)
    ]
    mine, theirs = (1000 * statistics.median(each) for each in zip(*pairs, strict=True))
    ratios = [a / b for a, b in pairs]
    print(
        f"{len(records):>8}{bound:>8}{series:>9}{len(text) / 1000:>8.0f}{mine:>11.1f}"
        f"{theirs:>9.1f}{statistics.median(ratios):>7.2f}{max(ratios):>7.2f}"
        f"{1000 * statistics.median(told):>9.1f}",
        flush=True,
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


if __name__ == "__main__":
    main()
