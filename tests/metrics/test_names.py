"""What is served is documented, and valid."""

from __future__ import annotations

from prometheus_client import generate_latest

from tests.e2e.prometheus import check_metrics
from tests.metrics.watched import GPU, Watched, documented, families, served
from tests.planner.world import scratch


def test_the_documentation_and_the_program_name_the_same_metrics() -> None:
    watched, _ = Watched.trains(GPU, started=True)
    assert served(families(watched.metrics)) == documented()


def test_promtool_finds_nothing_to_say() -> None:
    check_metrics(generate_latest(Watched(a=scratch("a", GPU)).metrics.registry).decode())
