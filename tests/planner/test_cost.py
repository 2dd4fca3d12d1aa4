"""What runs cost: each once, by the time of its pod, however it ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from reconciler.engine import FailureClass
from reconciler.planner.endings import announced_endings
from reconciler.planner.object_status import FAILED_HISTORY
from reconciler.planner.phases import Phase, TaskPhase
from reconciler.planner.plan import HoldKind
from reconciler.planner.prices import Prices
from reconciler.planner.status_update import update_status
from reconciler.types import Gpu, Resources, TaskKind
from tests.planner.histories import training
from tests.planner.test_sweeps import BEST
from tests.planner.world import World, finetune, model, scratch

GPUS = ", resources: {gpu: {type: l4, count: 2}}"
PRICES = Prices(currency="EUR", gpus={"l4": 1.0})
HOUR = timedelta(hours=1)


def priced(**files: str) -> World:
    world = World({f"{name}.yaml": text for name, text in files.items()})
    world.settings = replace(world.settings, prices=PRICES)
    return world


def an_hour_in() -> tuple[World, str]:
    """A world with a training on two GPUs that began an hour ago, and its run."""
    world = priced(a=scratch("a", GPUS))
    run = training(world, "a")
    world.start(run)
    world.sync()
    world.now += HOUR
    return world, run


def costs(world: World, name: str) -> list[tuple[TaskPhase, float, float]]:
    history = world.records[model(name)].history
    return [(e.phase, e.gpu_seconds / 3600, e.cost) for e in history if e.task is TaskKind.TRAIN]


def spent(world: World, name: str) -> float:
    return sum(world.records[model(name)].spent.values())


def test_a_complete_run_costs_the_time_of_its_pod_on_all_gpus() -> None:
    world = priced(a=scratch("a", GPUS))
    run = training(world, "a")
    world.start(run)
    world.runs[run] = replace(world.runs[run], placed=world.now - HOUR)
    world.sync()
    world.now += HOUR
    world.succeed(run)
    world.sync()
    world.sync()
    assert costs(world, "a") == [(TaskPhase.SUCCEEDED, 4.0, 4.0)]
    assert world.records[model("a")].spent == {"2026-01": 4.0}


@pytest.mark.parametrize("begun", [True, False])
def test_a_run_of_no_second_costs_its_startup_and_one_of_no_known_begin_nothing(
    *, begun: bool
) -> None:
    world = priced(a=scratch("a", GPUS))
    world.settings = replace(world.settings, prices=replace(PRICES, startup=3600.0))
    run = training(world, "a")
    if begun:
        world.start(run)
    world.succeed(run)
    world.sync()
    (entry,) = (e for e in world.records[model("a")].history if e.task is TaskKind.TRAIN)
    assert (entry.timed, entry.seconds, entry.cost) == (begun, 0.0, 2.0 if begun else 0.0)
    assert spent(world, "a") == entry.cost


def test_interrupted_and_failed_runs_cost_as_well() -> None:
    world = priced(a=scratch("a", GPUS))
    training(world, "a")
    for end in (FailureClass.INFRASTRUCTURE, FailureClass.COMMAND):
        run = world.run_of("a", TaskKind.TRAIN)
        world.start(run)
        world.sync()
        world.now += HOUR
        world.fail(run, end)
        world.sync()
        world.now += HOUR
        world.sync()
        world.sync()
    found = costs(world, "a")
    assert found == [(TaskPhase.INTERRUPTED, 2.0, 2.0), (TaskPhase.FAILED, 2.0, 2.0)]
    assert spent(world, "a") == 4.0


def test_a_superseded_run_costs_what_it_was_created_with() -> None:
    world, _ = an_hour_in()
    world.files["a.yaml"] = scratch("a", GPUS.replace("2", "8")).replace("epochs: 3", "epochs: 9")
    world.sync()
    assert costs(world, "a") == [(TaskPhase.INTERRUPTED, 2.0, 2.0)]


@pytest.mark.parametrize(
    ("then", "phase", "cost"),
    [
        ("ended", TaskPhase.INTERRUPTED, 4.0),
        ("wanted again", TaskPhase.SUCCEEDED, 4.0),
        ("ended by itself", TaskPhase.SUCCEEDED, 4.0),
        ("ended by a daemon that was killed", TaskPhase.INTERRUPTED, 2.0),
    ],
)
def test_a_run_that_could_not_be_ended_at_first_costs_once(
    then: str, phase: TaskPhase, cost: float
) -> None:
    world = priced(a=scratch("a", GPUS))
    run = training(world, "a")
    world.start(run)
    world.sync()
    first = world.files["a.yaml"]
    world.files["a.yaml"] = first.replace("epochs: 3", "epochs: 4")
    world.now += HOUR
    refuse(world)
    assert [each.job for each in world.records[model("a")].ending] == [run]
    assert spent(world, "a") == 0.0
    world.now += HOUR
    if then == "wanted again":
        world.files["a.yaml"] = first
        world.sync()
        world.succeed(run)
    elif then == "ended by itself":
        world.succeed(run)
    elif then == "ended by a daemon that was killed":
        del world.runs[run]
    world.sync()
    world.sync()
    assert costs(world, "a") == [(phase, cost, cost)]
    assert spent(world, "a") == cost
    assert not world.records[model("a")].ending


def test_an_object_that_is_ready_again_pays_for_the_run_that_was_being_ended() -> None:
    world = priced(a=scratch("a", GPUS))
    first = world.files["a.yaml"]
    world.settle()
    before = spent(world, "a")
    world.files["a.yaml"] = first.replace("epochs: 3", "epochs: 4")
    world.sync()
    (run,) = world.live()
    world.start(run)
    world.sync()
    world.files["a.yaml"] = first
    world.now += HOUR
    refuse(world)
    assert world.phase("a") is Phase.READY
    del world.runs[run]
    world.sync()
    assert spent(world, "a") == before + 2.0
    assert not world.records[model("a")].ending


def test_a_run_that_could_not_be_ended_counts_for_the_budget() -> None:
    world = priced(a=scratch("a", GPUS))
    world.settings = replace(world.settings, budget_month=5.0)
    world.start(training(world, "a"))
    world.sync()
    world.files["b.yaml"] = scratch("b", GPUS)
    world.files["a.yaml"] = world.files["a.yaml"].replace("epochs: 3", "epochs: 4")
    world.now += HOUR
    refuse(world)
    assert not any(hold.kind is HoldKind.BUDGET for hold in world.plan().holds)
    world.now += 2 * HOUR
    assert any(hold.kind is HoldKind.BUDGET for hold in world.plan().holds)


def test_many_runs_that_could_not_be_ended_at_first_cost_once() -> None:
    count = FAILED_HISTORY + 10
    rates = ", ".join(map(str, range(1, count + 1)))
    world = priced(a=scratch("a", f"{GPUS}, matrix: {{params: {{lr: [{rates}]}}, {BEST}}}"))
    world.released = frozenset(hold.id for hold in world.plan().holds)
    world.sync()
    world.succeed(world.run_of("a", TaskKind.BUILD))
    world.sync()
    for name in world.live():
        world.start(name)
    world.sync()
    world.now += HOUR
    world.files["a.yaml"] = world.files["a.yaml"].replace("epochs: 3", "epochs: 4")
    world.released = frozenset(hold.id for hold in world.plan().holds)
    for _ in range(3):
        refuse(world)
    assert spent(world, "a") == 0.0
    world.sync()
    assert spent(world, "a") == 2.0 * count


@pytest.mark.parametrize("then", ["ended", "refused at first", "the daemon was killed"])
def test_a_superseded_build_costs_as_well(then: str) -> None:
    built = "build: {resources: {gpu: {type: l4}}}\n  training"
    world = priced(a=scratch("a").replace("training", built, 1))
    world.sync()
    (run,) = world.live()
    world.start(run)
    world.sync()
    world.now += HOUR
    world.trees[".//src/a"] = "another"
    announce(world)
    if then == "refused at first":
        refuse(world)
        announce(world)
    elif then == "the daemon was killed":
        del world.runs[run]
    world.sync()
    world.sync()
    (entry,) = (e for e in world.records[model("a")].history if e.task is TaskKind.BUILD)
    assert (entry.phase, entry.cost) == (TaskPhase.INTERRUPTED, 1.0)
    assert spent(world, "a") == 1.0


@pytest.mark.parametrize("looked", [False, True], ids=["gone", "still being deleted"])
def test_a_run_whose_daemon_was_killed_costs_once_it_is_gone(looked: bool) -> None:
    world, run = an_hour_in()
    world.files["a.yaml"] = world.files["a.yaml"].replace("epochs: 3", "epochs: 4")
    announce(world)
    if looked:
        world.runs[run] = replace(world.runs[run], deleting=True)
        world.sync()
        assert spent(world, "a") == 0.0
    del world.runs[run]
    world.sync()
    assert costs(world, "a") == [(TaskPhase.INTERRUPTED, 2.0, 2.0)]
    assert spent(world, "a") == 2.0


def test_a_removed_object_that_comes_back_to_its_run_pays_the_rest() -> None:
    world = priced(a=scratch("a", GPUS))
    text = world.files["a.yaml"]
    run = training(world, "a")
    world.start(run)
    world.sync()
    world.now += HOUR
    world.files = {"b.yaml": scratch("b")}
    plan = world.plan()
    removed = update_status(plan, changed={}, places={}, going_on={run})[model("a")]
    assert removed.spent == {"2026-01": 2.0}
    world.records[model("a")] = removed
    world.files = {"a.yaml": text}
    world.now += HOUR
    world.succeed(run)
    world.sync()
    found = [(TaskPhase.INTERRUPTED, 2.0, 2.0), (TaskPhase.SUCCEEDED, 2.0, 2.0)]
    assert costs(world, "a") == found
    assert spent(world, "a") == 4.0


def announce(world: World) -> None:
    """Record what a plan is to end, and no more."""
    world.records |= announced_endings(world.plan())


def refuse(world: World) -> None:
    """Sync, and have no run ended."""
    plan = world.plan()
    assert plan.endings
    going_on = {ending.run.name for ending in plan.endings}
    world.records |= update_status(plan, changed={}, places={}, going_on=going_on)


def test_a_run_of_a_removed_object_costs_until_it_is_ended() -> None:
    world, _ = an_hour_in()
    world.files = {"b.yaml": scratch("b")}
    plan = world.plan()
    assert model("a") in plan.removed
    (last,) = (
        r for ref, r in update_status(plan, changed={}, places={}).items() if ref == model("a")
    )
    assert last.spent == {"2026-01": 2.0}


def test_a_followed_source_that_moves_leaves_the_entry_of_the_run_that_went_on() -> None:
    follow = scratch("a", GPUS).replace("path: src/a", "path: src/a, update: Follow")
    world = priced(a=follow.replace("url: .", "url: https://example.com/a"))
    run = training(world, "a")
    world.start(run)
    world.sync()
    world.trees["https://example.com/a//src/a"] = "moved"
    world.sync()
    world.now += HOUR
    world.succeed(run)
    world.sync()
    world.sync()
    assert costs(world, "a") == [(TaskPhase.SUCCEEDED, 2.0, 2.0)]
    assert spent(world, "a") == 2.0


def test_a_build_that_objects_share_is_paid_once() -> None:
    text = scratch("a").replace("training", "build: {resources: {gpu: {type: l4}}}\n  training", 1)
    world = priced(a=text, b=text.replace("name: a", "name: b"))
    world.sync()
    (run,) = world.live()
    world.start(run)
    world.sync()
    world.now += HOUR
    world.succeed(run)
    world.settle()
    assert spent(world, "a") + spent(world, "b") == 1.0


def test_prices_are_by_type_core_and_gib() -> None:
    prices = Prices(gpus={"l4": 0.81, "any": 0.5}, cpu=0.03, memory=0.004, startup=60)
    asked = Resources(cpu=4, memory=16 << 30, gpu=Gpu("l4", 2), nodes=3)
    hourly = 3 * (2 * 0.81 + 4 * 0.03 + 16 * 0.004)
    assert prices.hourly(asked) == pytest.approx(hourly)
    assert prices.cost(asked, 3540) == pytest.approx(hourly)
    assert prices.hourly(Resources(gpu=Gpu("h100", 1))) == 0.5
    assert prices.hourly(Resources()) == 0


def test_a_price_is_in_no_key() -> None:
    world = priced(a=scratch("a"), b=finetune("b", "a"))
    world.settle()
    world.made()
    world.settings = replace(world.settings, prices=Prices(cpu=9.0))
    world.settle()
    assert world.made() == []
