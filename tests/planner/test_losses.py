"""Artifacts that were complete and are gone: noticed, made again once, and told."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from reconciler.engine import FailureClass, RunPhase
from reconciler.planner.ledger import Ledger
from reconciler.planner.losses import artifacts_in_use, reported_losses
from reconciler.planner.phases import Phase, TaskPhase
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import TaskKey, TaskKind
from tests.planner.world import World, finetune, model, scratch

TEN_YEARS = timedelta(days=3650)
FAMILY = {"a.yaml": scratch("a"), "b.yaml": finetune("b", "a")}


def family() -> World:
    world = World(dict(FAMILY))
    world.settle()
    world.made()
    return world


def artifact_key(world: World, name: str) -> TaskKey:
    artifact = world.records[model(name)].artifact
    assert artifact is not None
    return artifact.key


def lose(world: World, name: str) -> TaskKey:
    """What the daemon does when the marker is gone."""
    key = artifact_key(world, name)
    world.ledger.lose(key, world.now)
    world.now += timedelta(seconds=1)
    return key


def restart(world: World) -> None:
    """Another daemon, which knows what the status files say."""
    world.ledger = Ledger()
    for record in world.records.values():
        world.ledger.learn_record(record)


def test_a_lost_artifact_is_made_again_once_under_its_key() -> None:
    world = family()
    key = lose(world, "a")
    world.settle()
    assert world.made() == [("a", "train")], "what was made from it is complete and stays"
    assert artifact_key(world, "a") == key
    assert world.phases() == {"a": Phase.READY, "b": Phase.READY}
    world.settle()
    assert world.made() == []


def test_an_object_says_lost_until_its_artifact_is_made_again() -> None:
    world = family()
    lose(world, "a")
    plan = world.sync()
    record = world.records[model("a")]
    assert record.phase is Phase.LOST
    assert record.reason == "ArtifactLost"
    assert record.artifact is None, "nobody is sent to a URL where nothing is"
    assert [c.status for c in record.conditions if c.type == "ArtifactLost"] == ["True"]
    assert plan.retry_at is None
    world.settle()
    record = world.records[model("a")]
    assert record.phase is Phase.READY
    assert all(c.type != "ArtifactLost" for c in record.conditions)


def test_the_time_of_a_verification_stays_until_the_artifact_is_lost() -> None:
    world = family()
    record = world.records[model("a")]
    assert record.artifact is not None
    verified = replace(record, artifact=replace(record.artifact, verified=world.now))
    world.records[model("a")] = verified
    world.sync()
    assert world.records[model("a")] == verified
    lose(world, "a")
    world.settle()
    artifact = world.records[model("a")].artifact
    assert artifact is not None
    assert artifact.verified is None


def test_the_history_keeps_the_lost_artifact_and_the_one_made_again() -> None:
    world = family()
    key = lose(world, "a")
    lost_at = world.ledger.losses[key].at
    world.settle()
    entries = [e for e in world.records[model("a")].history if e.key == key]
    assert [(e.phase, e.lost) for e in entries] == [
        (TaskPhase.SUCCEEDED, lost_at),
        (TaskPhase.SUCCEEDED, None),
    ]


def test_a_restart_between_loss_and_repair_does_not_believe_the_old_entry() -> None:
    world = family()
    lose(world, "a")
    world.sync()
    restart(world)
    world.settle()
    assert world.made() == [("a", "train")]


def test_a_restart_after_the_repair_makes_nothing() -> None:
    world = family()
    lose(world, "a")
    world.settle()
    world.made()
    restart(world)
    world.runs = {}
    world.settle()
    assert world.made() == []
    assert world.phase("a") is Phase.READY


def test_a_suspended_object_that_lost_its_artifact_says_so_and_makes_nothing() -> None:
    world = family()
    world.files["a.yaml"] = scratch("a") + "  suspend: true\n"
    world.settle()
    lose(world, "a")
    world.settle()
    assert world.made() == []
    assert world.phase("a") is Phase.LOST


def test_the_guard_holds_what_would_be_made_again() -> None:
    world = family()
    world.settings = replace(world.settings, guard_tasks=1)
    lose(world, "a")
    lose(world, "b")
    world.settle()
    assert world.made() == []
    assert set(world.phases().values()) == {Phase.HELD}


def test_a_consumer_that_finds_its_base_lost_has_it_made_again() -> None:
    world = World(dict(FAMILY))
    base_lost = Reason.of(ReasonCode.ARTIFACT_LOST, input="base", url="file:///gone")

    def end(world: World, name: str) -> None:
        first = world.specs[name].base is not None and name not in failed
        if not first:
            world.succeed(name)
            return
        failed.add(name)
        world.fail(name, FailureClass.INFRASTRUCTURE)
        world.runs[name] = replace(world.runs[name], reason=base_lost)

    failed: set[str] = set()
    for _ in range(40):
        plan = world.sync()
        for key in reported_losses(plan):
            world.ledger.lose(key, world.now)
        for name in world.live():
            end(world, name)
        world.now += timedelta(seconds=10)
    assert world.made() == [
        ("a", "train"),
        ("a", "train"),
        ("b", "train"),
        ("b", "train"),
        ("build", "build"),
    ]
    assert world.phases() == {"a": Phase.READY, "b": Phase.READY}


def test_a_loss_that_was_noted_by_a_clock_ahead_ends_with_the_next_run() -> None:
    world = family()
    world.now += TEN_YEARS
    lose(world, "a")
    world.sync()
    world.now -= TEN_YEARS
    restart(world)
    world.plan()
    world.now += timedelta(seconds=1)
    world.settle()
    assert world.made() == [("a", "train")]
    assert world.phase("a") is Phase.READY


def test_a_run_that_ended_by_a_clock_ahead_does_not_complete_what_was_lost_since() -> None:
    world = World(dict(FAMILY))
    world.now += TEN_YEARS
    world.settle()
    world.made()
    world.now -= TEN_YEARS
    lose(world, "a")
    world.settle()
    assert world.made() == [("a", "train")]


def test_a_consumer_is_believed_about_an_artifact_that_a_clock_ahead_made() -> None:
    world = World(dict(FAMILY))
    world.now += TEN_YEARS
    world.settle()
    world.now -= TEN_YEARS
    world.files["b.yaml"] = finetune("b", "a").replace("epochs: 3", "epochs: 5")
    world.sync()
    name = world.run_of("b", TaskKind.TRAIN)
    world.fail(name, FailureClass.INFRASTRUCTURE)
    lost = Reason.of(ReasonCode.ARTIFACT_LOST, input="base", url="file:///gone")
    world.runs[name] = replace(world.runs[name], reason=lost)
    assert reported_losses(world.plan()) == {artifact_key(world, "a")}


def test_a_revert_relies_on_the_artifact_that_it_goes_back_to() -> None:
    world = family()
    key = artifact_key(world, "a")
    world.files["a.yaml"] = scratch("a").replace("epochs: 3", "epochs: 5")
    world.settle()
    assert key not in {item.key for item in artifacts_in_use(world.sync(), all_current=False)}
    world.files["a.yaml"] = scratch("a")
    plan = world.plan()
    assert key in {item.key for item in artifacts_in_use(plan, all_current=False)}


def test_a_first_sync_relies_on_every_current_artifact() -> None:
    world = family()
    plan = world.plan()
    assert artifacts_in_use(plan, all_current=False) == []
    used = {item.key for item in artifacts_in_use(plan, all_current=True)}
    assert used == {artifact_key(world, "a"), artifact_key(world, "b")}


def test_a_run_relies_on_the_artifacts_that_it_mounts() -> None:
    world = family()
    world.files["c.yaml"] = finetune("c", "a")
    plan = world.plan()
    assert [item.key for item in artifacts_in_use(plan, all_current=False)] == [
        artifact_key(world, "a")
    ]


@pytest.mark.parametrize("set_by", [timedelta(0), timedelta(hours=-1), timedelta(hours=1)])
@pytest.mark.parametrize("restarted", [False, True])
def test_the_run_that_made_the_lost_artifact_does_not_complete_it_again(
    set_by: timedelta, restarted: bool
) -> None:
    world = family()
    world.now += set_by
    key = lose(world, "a")
    done = [run for run in world.runs.values() if run.key == key]
    if restarted:
        world.sync()
        restart(world)
    assert [run.phase for run in done] == [RunPhase.SUCCEEDED]
    world.ledger.learn_runs({run.name: replace(run, deleting=True) for run in done})
    assert world.ledger.result(key) is None


@pytest.mark.parametrize("set_by", [timedelta(hours=-1), timedelta(hours=1)])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_clock_that_is_set_after_a_loss_has_it_made_again_once(
    set_by: timedelta, restarted: bool
) -> None:
    world = family()
    key = lose(world, "a")
    world.sync()
    world.now += set_by
    if restarted:
        restart(world)
    world.settle()
    assert world.made() == [("a", "train")]
    assert world.ledger.result(key) is not None
    assert world.phases() == {"a": Phase.READY, "b": Phase.READY}


@pytest.mark.parametrize("set_by", [timedelta(hours=-1), timedelta(hours=1)])
def test_a_clock_that_is_set_changes_no_order_of_failure_and_completion(set_by: timedelta) -> None:
    world = family()
    key = artifact_key(world, "a")
    world.files["b.yaml"] = finetune("b", "a").replace("epochs: 3", "epochs: 5")
    world.sync()
    [consumer] = world.live()
    world.now += set_by
    world.fail(consumer, FailureClass.INFRASTRUCTURE)
    base_lost = Reason.of(ReasonCode.ARTIFACT_LOST, input="base", url="file:///gone")
    world.runs[consumer] = replace(world.runs[consumer], reason=base_lost)
    assert reported_losses(world.sync()) == {key}
    world.ledger.lose(key, world.now)
    world.now -= set_by
    for _ in range(2):  # the run that made it has to go first
        world.sync()
    [producer] = world.live()
    world.succeed(producer)
    assert reported_losses(world.sync()) == set()


def consumer_of(world: World, epochs: int) -> str:
    """Another training of ``b`` on its base."""
    world.files["b.yaml"] = finetune("b", "a").replace("epochs: 3", f"epochs: {epochs}")
    world.sync()
    world.now += timedelta(seconds=1)
    return world.run_of("b", TaskKind.TRAIN)


def say_lost(world: World, name: str, at: datetime) -> None:
    """End a run that has found its base gone."""
    reason = Reason.of(ReasonCode.ARTIFACT_LOST, input="base", url="file:///gone")
    world.fail(name, FailureClass.INFRASTRUCTURE)
    world.runs[name] = replace(world.runs[name], reason=reason, finished=at)


def make_again(world: World) -> None:
    """Lose the base, and make it again."""
    lose(world, "a")
    world.now += timedelta(seconds=10)
    for _ in range(2):  # the run that made it has to go first
        world.sync()
    world.now += timedelta(seconds=10)
    world.succeed(world.run_of("a", TaskKind.TRAIN))


def test_a_report_is_believed_only_of_what_was_there_before_its_run() -> None:
    world = family()
    key = artifact_key(world, "a")
    consumer, found_at = consumer_of(world, 5), world.now
    make_again(world)
    world.sync()
    say_lost(world, consumer, found_at)
    assert reported_losses(world.sync()) == set(), "its node was silent until now"
    world.now += timedelta(minutes=1)
    world.sync()
    say_lost(world, world.run_of("b", TaskKind.TRAIN), world.now)
    assert reported_losses(world.sync()) == {key}, "the next run has seen that it is gone again"


def test_a_new_leader_believes_no_report_from_before_an_artifact_was_made_again() -> None:
    world = family()
    consumer = consumer_of(world, 5)
    say_lost(world, consumer, world.now)
    world.sync()
    recorded = dict(world.records)
    make_again(world)
    world.records = recorded  # the leader died before its next push
    restart(world)
    assert reported_losses(world.plan()) == set()
    assert world.ledger.result(artifact_key(world, "a")) is not None


def test_a_new_leader_believes_a_report_on_the_artifact_that_is_recorded() -> None:
    world = family()
    key = artifact_key(world, "a")
    say_lost(world, consumer_of(world, 5), world.now)
    restart(world)
    assert reported_losses(world.plan()) == {key}


def test_a_scrub_from_before_an_artifact_was_made_again_is_known_by_its_turn() -> None:
    world = family()
    key = artifact_key(world, "a")
    made = next(run for run in world.runs.values() if run.key == key)
    restart(world)
    world.ledger.learn_runs({})
    before = world.ledger.result(key)
    world.ledger.learn_runs({made.name: replace(made, finished=world.now)})
    after = world.ledger.result(key)
    assert before is not None
    assert after is not None
    assert after.turn > before.turn
    assert after.result == before.result
