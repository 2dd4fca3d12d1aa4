"""The update of statuses from a plan, as a function of the plan alone."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from reconciler.planner.object_status import TaskStatus, newest_printed
from reconciler.planner.phases import TaskPhase
from reconciler.planner.status_update import update_status
from reconciler.types import TaskKind
from tests.planner.histories import settled
from tests.planner.world import World, model, scratch


def test_a_status_update_changes_nothing_that_it_is_given() -> None:
    world = World({"a.yaml": scratch("a"), "b.yaml": scratch("b")})
    world.sync()
    succeeded, failed = world.live()
    world.succeed(succeeded)
    world.fail(failed)
    plan = world.plan()
    inputs = plan.inputs
    completed, failures = dict(inputs.ledger.completed), dict(inputs.ledger.failures)
    records, runs = deepcopy(world.records), deepcopy(world.runs)
    decided = deepcopy(plan.decided)

    found = update_status(plan, changed={}, places={})

    assert all(len(record.history) == 1 for record in found.values()), "there is news"
    assert inputs.ledger.completed == completed
    assert inputs.ledger.failures == failures
    assert (world.records, world.runs) == (records, runs)
    assert plan.decided == decided


def test_the_ledger_learns_the_image_of_a_complete_key_from_the_status() -> None:
    world = settled(a=scratch("a"))
    record = world.records[model("a")]
    assert record.artifact is not None
    assert record.artifact.image_key is not None
    complete = world.ledger.result(record.artifact.key)
    assert complete is not None
    assert complete.image_key == record.artifact.image_key


def test_a_status_does_not_bring_back_a_result_that_was_lost() -> None:
    world = settled(a=scratch("a"))
    record = world.records[model("a")]
    assert record.artifact is not None
    world.ledger.lose(record.artifact.key, world.now)
    world.ledger.learn_image_keys(record)
    assert world.ledger.result(record.artifact.key) is None


def test_of_two_tasks_that_start_in_one_second_the_later_one_is_the_newest() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    train, evaluate = (
        TaskStatus(task=task, phase=TaskPhase.SUCCEEDED, attempts=1, started=now)
        for task in (TaskKind.TRAIN, TaskKind.EVALUATE)
    )
    assert newest_printed([train, evaluate]) is evaluate
    assert newest_printed([evaluate, train]) is evaluate
    later = replace(train, started=now + timedelta(seconds=1))
    assert newest_printed([later, evaluate]) is later
