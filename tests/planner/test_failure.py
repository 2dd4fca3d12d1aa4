"""Failure is remembered if it is the command's, and retried if it is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.engine import FailureClass, RunPhase
from reconciler.planner.ledger import Ledger
from reconciler.planner.phases import Phase
from reconciler.planner.retry_policy import RETRY_LIMIT, RETRY_LONGEST, Failure
from reconciler.reasons import Reason, ReasonCode, message
from reconciler.types import ExecutionHash, TaskKey, TaskKind
from tests.planner.histories import annotated, changed, restart, training
from tests.planner.world import World, finetune, model, scratch


def failing(world: World, name: str) -> None:
    """End builds well and trainings badly."""
    if world.runs[name].task is TaskKind.BUILD:
        world.succeed(name)
    else:
        world.fail(name)


def test_a_failed_command_stays_failed_over_syncs_and_restarts() -> None:
    world = World({"a.yaml": scratch("a"), "b.yaml": finetune("b", "a")})
    world.settle(failing)
    assert world.phases() == {"a": Phase.FAILED, "b": Phase.WAITING}
    assert "exited with 1" in world.records[model("a")].message
    world.made()
    world.ledger, world.runs = Ledger(), {}
    for record in world.records.values():
        world.ledger.learn_record(record)
    world.settle()
    assert world.made() == []
    assert world.phase("a") is Phase.FAILED


def test_a_failed_run_is_tried_again_for_a_changed_param_how_or_retry() -> None:
    world = World({"a.yaml": scratch("a")})
    world.settle(failing)
    changes = [
        changed("a"),
        scratch("a", ", timeout: 1h"),
        annotated(scratch("a"), "retry: '1'"),
        annotated(scratch("a"), "retry: '2'"),
    ]
    for change in changes:
        world.made()
        world.files["a.yaml"] = change
        world.settle(failing)
        assert world.made() == [("a", "train")], change


def test_going_back_to_a_key_that_failed_does_not_run_it_again() -> None:
    world = World({"a.yaml": scratch("a")})
    world.settle(failing)
    world.files["a.yaml"] = changed("a")
    world.settle()
    world.made()
    world.files["a.yaml"] = scratch("a")
    world.settle()
    assert world.made() == []
    assert world.phase("a") is Phase.FAILED
    assert world.records[model("a")].artifact is not None


def test_a_failure_that_is_not_the_commands_is_retried_with_growing_delays() -> None:
    world = World({"a.yaml": scratch("a")})
    delays = []
    for _ in range(RETRY_LIMIT):
        world.sync()
        world.fail(world.run_of("a", TaskKind.BUILD), FailureClass.INFRASTRUCTURE)
        plan = world.sync()
        assert plan.retry_at is not None
        assert world.phase("a") is Phase.WAITING
        delays.append((plan.retry_at - world.now).total_seconds())
        world.now = plan.retry_at
        world.sync()  # clears the failed run away
    world.sync()
    assert delays[0] < delays[1] < delays[2]
    assert max(delays) <= 600 * 1.25
    world.fail(world.run_of("a", TaskKind.BUILD), FailureClass.INFRASTRUCTURE)
    world.now += timedelta(days=1)
    world.settle()
    assert world.phase("a") is Phase.FAILED


def test_a_clock_that_is_set_back_neither_stops_the_retries_nor_their_count() -> None:
    world = World({"a.yaml": scratch("a")})
    for count in range(1, 4):
        world.sync()
        world.fail(world.run_of("a", TaskKind.BUILD), FailureClass.INFRASTRUCTURE)
        plan = world.sync()
        (build, _) = world.records[model("a")].tasks
        assert build.failures == count
        assert plan.retry_at is not None
        assert plan.retry_at - world.now < timedelta(minutes=2)
        world.now -= timedelta(hours=1)
        world.sync()  # clears the failed run away
    world.sync()
    assert world.run_of("a", TaskKind.BUILD)


def test_a_run_that_ends_before_it_began_is_recorded_with_no_duration() -> None:
    world = World({"a.yaml": scratch("a")})
    world.sync()
    world.succeed(world.run_of("a", TaskKind.BUILD))
    world.sync()
    name = world.run_of("a", TaskKind.TRAIN)
    world.start(name)
    world.now -= timedelta(hours=1)
    world.succeed(name)
    world.sync()
    (_, train) = world.records[model("a")].tasks
    assert train.started is not None
    assert train.finished == train.started


def test_a_restart_does_not_count_a_failure_twice() -> None:
    world = World({"a.yaml": scratch("a")})
    world.sync()
    world.now += timedelta(microseconds=123456)
    world.fail(world.run_of("a", TaskKind.BUILD), FailureClass.INFRASTRUCTURE)
    world.sync()
    restart(world)
    world.sync()
    (task, _) = world.records[model("a")].tasks
    assert task.failures == 1


def test_a_restart_while_it_waits_to_try_again_changes_nothing_that_is_recorded() -> None:
    world = World({"a.yaml": scratch("a")})
    world.sync()
    world.fail(world.run_of("a", TaskKind.BUILD), FailureClass.INFRASTRUCTURE)
    world.sync()
    world.sync()
    recorded = dict(world.records)
    assert "tried again at" in recorded[model("a")].message
    restart(world)
    world.sync()
    assert world.records == recorded


def test_success_after_a_failure_that_was_not_the_commands() -> None:
    world = World({"a.yaml": scratch("a")})
    world.sync()
    world.fail(world.run_of("a", TaskKind.BUILD), FailureClass.INFRASTRUCTURE)
    plan = world.sync()
    assert plan.retry_at is not None
    world.now = plan.retry_at
    world.settle()
    assert world.phase("a") is Phase.READY


def test_an_engine_that_cannot_be_asked_is_asked_for_as_long_as_it_takes() -> None:
    world = World({"a.yaml": scratch("a"), "b.yaml": finetune("b", "a")})
    told = []
    for _ in range(3 * RETRY_LIMIT):
        world.sync()
        told.append(dict(world.records))
        for name in world.live():
            world.fail(name, FailureClass.UNAVAILABLE)
            refused = world.runs.pop(name)  # there is no such run
            world.ledger.learn_run(refused)
        world.sync()
        told.append(dict(world.records))
        assert world.phase("a") is Phase.WAITING
        world.now += timedelta(minutes=2)
    assert [told[1]] * len(told[1:]) == told[1:], "a try makes no status commit"
    world.settle()
    assert world.phase("a") is Phase.READY


@pytest.mark.parametrize("kind", [FailureClass.UNAVAILABLE, FailureClass.INFRASTRUCTURE])
def test_however_often_something_has_failed_there_is_a_next_try(kind: FailureClass) -> None:
    failure = Failure(
        key=TaskKey("0" * 40),
        execution_hash=ExecutionHash("0" * 40),
        kind=kind,
        reason=Reason.of(ReasonCode.INFRASTRUCTURE_FAILED, detail="it is away"),
        at=datetime(2026, 1, 1, tzinfo=UTC),
        began=datetime(2026, 1, 1, tzinfo=UTC),
        count=10_000,
        tries=10_000,
    )
    assert 0 < failure.retry_delay <= RETRY_LONGEST


def test_a_run_that_nothing_is_heard_of_waits_and_has_no_successor() -> None:
    world = World({"a.yaml": scratch("a"), "b.yaml": finetune("b", "a")})
    name = training(world, "a")
    world.runs[name] = replace(
        world.runs[name],
        phase=RunPhase.RUNNING,
        lost=True,
        reason=Reason.of(ReasonCode.INFRASTRUCTURE_FAILED, detail="nothing is heard of node1"),
    )
    world.sync()
    assert world.phases() == {"a": Phase.WAITING, "b": Phase.WAITING}
    assert world.records[model("a")].message == "nothing is heard of node1"
    world.made()

    world.files["a.yaml"] = changed("a")
    (cancelled,) = world.plan().endings
    assert cancelled.run.name == name
    reasons = [message(d.reason) for d in world.plan().decisions if d.ref == model("a")]
    assert "the run before it has not ended: nothing is heard of node1" in reasons
    world.runs[name] = replace(world.runs[name], deleting=True)
    world.files["a.yaml"] = scratch("a")
    world.sync()
    assert world.made() == []
    assert "has not ended: nothing is heard of node1" in world.records[model("a")].message

    world.runs[name] = replace(world.runs[name], deleting=False, lost=False)
    world.settle()
    assert world.phases() == {"a": Phase.READY, "b": Phase.READY}
