"""What is counted of runs as they come, start, are tried again, and go."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from reconciler.engine import Collected, CollectedKind, FailureClass, RunPhase
from reconciler.metrics import Metrics
from reconciler.planner.phases import TaskPhase
from reconciler.planner.prices import Prices
from tests.metrics.watched import GPU, Watched, families, report, value
from tests.planner.world import scratch


def test_a_run_is_counted_from_its_creation_to_its_end() -> None:
    watched, run = Watched.trains(GPU)
    assert watched.value("gpus_requested") == 2
    assert watched.value("gpus_in_use") == 0
    watched.wait(30)
    watched.world.start(run)
    watched.sync()
    assert watched.value("gpus_in_use") == 2
    assert watched.value("object_gpus", kind="Model", namespace="default", name="a") == 2
    assert watched.value("tasks", task="train", phase="Running") == 1
    assert watched.value("run_queue_duration_seconds_sum", task="train") == 30
    watched.wait(100)
    watched.world.succeed(run)
    ended = watched.world.runs[run]
    assert ended.result is not None
    watched.world.runs[run] = replace(ended, result=replace(ended.result, gpu_seconds=200.0))
    watched.sync()
    watched.sync()
    assert watched.value("runs_ended_total", task="train", result="succeeded") == 1
    assert watched.value("run_duration_seconds_sum", task="train", result="succeeded") == 100
    assert watched.value("gpu_seconds_total", kind="Model", namespace="default", name="a") == 200
    assert watched.value("gpus_requested") == 0


@pytest.mark.parametrize(
    ("kind", "result"),
    [(FailureClass.COMMAND, "failed"), (FailureClass.INFRASTRUCTURE, "infrastructure")],
)
def test_a_run_that_failed_has_used_its_gpus_too(kind: FailureClass, result: str) -> None:
    watched, run = Watched.trains(GPU, started=True)
    watched.wait(50)
    watched.world.fail(run, kind)
    watched.sync()
    assert watched.value("runs_ended_total", task="train", result=result) == 1
    assert watched.value("gpu_seconds_total", kind="Model", namespace="default", name="a") == 100


def test_what_runs_cost_is_summed_up_however_they_ended_and_by_whichever_daemon() -> None:
    watched = Watched(a=scratch("a", GPU))
    labels = {"kind": "Model", "namespace": "default", "name": "a"}
    assert watched.value("cost_total", **labels) is None, "without prices nothing costs"
    prices = Prices(currency="EUR", gpus={"t4": 18.0})
    watched.world.settings = replace(watched.world.settings, prices=prices)
    watched.build()
    assert watched.value("cost_total", **labels) == 0
    for end in (FailureClass.INFRASTRUCTURE, None):
        run = watched.run("a")
        watched.world.start(run)
        watched.sync()
        watched.wait(100)  # a second of a GPU costs 0.005
        if end is None:
            watched.world.succeed(run)
        else:
            watched.world.fail(run, end)
        watched.sync()
        watched.wait(600)  # the pause before a retry
        watched.sync()
    assert watched.value("cost_total", **labels) == pytest.approx(2.0)
    restarted = Metrics()
    report(restarted, watched.world.plan(), watched.world.records)
    assert value(restarted, "cost_total", **labels) == pytest.approx(2.0)


def test_what_a_run_used_before_its_place_was_taken_away_is_counted() -> None:
    watched, run = Watched.trains(GPU, started=True)
    runs, gpus = watched.world.runs, {"kind": "Model", "namespace": "default", "name": "a"}
    watched.wait(50)
    runs[run] = replace(
        runs[run], phase=RunPhase.PENDING, started=None, suspended=watched.world.now, attempts=0
    )
    watched.wait(30)
    watched.sync()
    assert watched.value("gpu_seconds_total", **gpus) == 100
    assert watched.value("gpus_in_use") == 0
    (entry,) = [e for e in watched.history("a") if e.phase is TaskPhase.INTERRUPTED]
    assert (entry.reason, entry.seconds, entry.gpu_seconds) == ("RunSuspended", 50.0, 100.0)
    watched.sync()
    assert len(watched.history("a")) == 2, "the build and the one attempt"
    runs[run] = replace(runs[run], suspended=None)
    watched.world.start(run)
    watched.sync()
    assert watched.value("run_queue_duration_seconds_sum", task="train") == 30
    watched.wait(10)
    watched.world.succeed(run)
    watched.sync()
    assert watched.value("gpu_seconds_total", **gpus) == 120
    assert watched.value("run_duration_seconds_sum", task="train", result="succeeded") == 10
    assert watched.value("runs_ended_total", task="train", result="infrastructure") == 0
    assert watched.value("retries_total", task="train", by="engine") == 0


def test_a_superseded_run_is_cancelled_and_keeps_its_gpus_until_then() -> None:
    watched, run = Watched.trains(GPU, started=True)
    watched.wait(10)
    ending = replace(watched.world.runs[run], deleting=True)
    watched.world.files["a.yaml"] = scratch("a", GPU).replace("epochs: 3", "epochs: 4")
    watched.world.runs[run] = ending
    plan = watched.world.plan()
    report(watched.metrics, plan, watched.world.records)
    assert watched.value("gpus_in_use") == 2, "no decision is about it any more"
    del watched.world.runs[run]
    watched.sync()
    assert watched.value("runs_ended_total", task="train", result="cancelled") == 1
    assert watched.value("gpu_seconds_total", kind="Model", namespace="default", name="a") == 20


def test_clearing_away_an_ended_run_counts_nothing() -> None:
    watched, run = Watched.trains()
    watched.world.succeed(run)
    watched.sync()
    watched.world.runs[run] = replace(watched.world.runs[run], deleting=True)
    watched.sync()
    watched.world.runs.pop(run, None)
    watched.sync()
    assert watched.value("runs_ended_total", task="train", result="succeeded") == 1
    assert watched.value("runs_ended_total", task="train", result="cancelled") == 0


def test_retries_within_a_run_are_the_engines() -> None:
    watched, run = Watched.trains()
    for attempts in (1, 2, 4):
        watched.world.runs[run] = replace(watched.world.runs[run], attempts=attempts)
        watched.sync()
    assert watched.value("retries_total", task="train", by="engine") == 3


def test_another_run_after_a_failure_that_was_not_the_commands_is_the_daemons_retry() -> None:
    watched, run = Watched.trains()
    spec = watched.world.specs[run]
    watched.metrics.runs.created_one(spec, again=False)
    watched.metrics.runs.created_one(spec, again=True)
    assert watched.value("runs_created_total", task="train") == 2
    assert watched.value("retries_total", task="train", by="daemon") == 1


def test_a_delayed_retry_is_seen_to_be_due() -> None:
    watched, run = Watched.trains()
    watched.world.fail(run, FailureClass.INFRASTRUCTURE)
    watched.sync()
    assert watched.value("retries_due") == 1


def test_what_ended_before_the_first_sync_is_not_counted() -> None:
    watched, run = Watched.trains()
    watched.world.fail(run)
    later = Metrics()
    report(later, watched.world.sync(), watched.world.records)
    assert value(later, "runs_ended_total", task="train", result="failed") == 0


def test_who_does_not_lead_any_more_says_nothing_of_objects() -> None:
    watched, _ = Watched.trains(GPU)
    watched.metrics.clear()
    assert watched.value("gpus_requested") == 0
    for name in ("objects", "tasks", "runs", "object_phase"):
        found = [f for f in families(watched.metrics) if f.name == f"reconciler_{name}"]
        assert sum(sample.value for family in found for sample in family.samples) == 0, name
    assert watched.value("objects_left_out") == 0
    watched.sync()
    assert watched.value("runs_ended_total", task="train", result="cancelled") == 0


def test_what_a_run_asks_for_is_known_once_its_manifest_is() -> None:
    watched, _ = Watched.trains(GPU, started=True)
    good = watched.world.files["a.yaml"]
    later = Metrics()
    watched.world.files["a.yaml"] = "kind: ["
    report(later, watched.world.sync(), watched.world.records)
    assert value(later, "gpus_in_use") == 0
    watched.world.files["a.yaml"] = good
    report(later, watched.world.sync(), watched.world.records)
    assert value(later, "gpus_in_use") == 2


def test_what_is_less_than_nothing_is_not_counted() -> None:
    watched = Watched(a=scratch("a", GPU))
    watched.build()
    name = watched.run("a")
    watched.world.start(name)
    watched.sync()
    watched.wait(-3600)
    watched.world.succeed(name)
    run = watched.world.runs[name]
    assert run.result is not None
    watched.world.runs[name] = replace(run, result=replace(run.result, gpu_seconds=-7200.0))
    watched.sync()
    of = {"kind": "Model", "namespace": "default", "name": "a"}
    assert watched.value("gpu_seconds_total", **of) == 0
    assert watched.value("runs_ended_total", task="train", result="succeeded") == 1


def test_a_metric_that_cannot_be_counted_ends_no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(a=scratch("a", GPU))

    def refuse(*_: object) -> None:
        raise ValueError("Counters can only be incremented by non-negative amounts.")

    monkeypatch.setattr(watched.metrics.runs, "report", refuse)
    monkeypatch.setattr(watched.metrics.runs, "created_one", refuse)
    with capture_logs() as logs:
        watched.sync()
        watched.metrics.created(next(iter(watched.world.specs.values())), again=False)
    assert {entry["event"] for entry in logs} == {"metrics could not be updated"}
    assert watched.value("tasks", task="build", phase="Pending") == 1, "the others are counted"


def test_what_was_collected_is_counted_by_kind_and_nothing_is_taken_back() -> None:
    metrics = Metrics()
    found = [
        Collected(kind=kind, name="a", freed=freed, used=datetime.now(UTC))
        for kind, freed in ((CollectedKind.IMAGE, 1), (CollectedKind.ENVIRONMENT, 5_500_000_000))
    ]
    metrics.collected([*found, replace(found[0], freed=-1)])
    assert value(metrics, "collected_bytes_total", what="image") == 1
    assert value(metrics, "collected_bytes_total", what="environment") == 5_500_000_000
