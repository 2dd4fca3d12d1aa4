"""Metrics of what waits for a user name the tenant."""

from __future__ import annotations

from reconciler.metrics import Metrics
from reconciler.planner.phase_index import Phases
from reconciler.types import Location, Problem
from tests.metrics.watched import value
from tests.tenants.test_plans import flooded


def test_holds_and_errors_are_counted_by_tenant() -> None:
    at, metrics = flooded(guard_gpus=3), Metrics()
    plan = at.settle()
    errors = [Problem(Location(file), "", "wrong") for file in ("mallory/a.yaml", "x.yaml")]
    metrics.report(plan, at.records, Phases(at.records.values()), errors=errors)
    waiting = {
        tenant: (
            value(metrics, "holds", kind="guard", tenant=tenant),
            value(metrics, "manifest_errors", tenant=tenant),
        )
        for tenant in ("", "vision", "mallory", "shared")
    }
    assert waiting == {"": (1, 1), "vision": (0, 0), "mallory": (1, 1), "shared": (0, 0)}
    metrics.clear()
    assert value(metrics, "holds", kind="guard", tenant="mallory") == 0
    assert value(metrics, "manifest_errors", tenant="mallory") == 0
