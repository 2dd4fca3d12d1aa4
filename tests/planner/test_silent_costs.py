"""A run whose node is silent, or whose key is an earlier one, costs all the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from reconciler.planner.phases import Phase, TaskPhase
from reconciler.planner.plan import HoldKind
from reconciler.planner.prices import Prices
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import TaskKind
from tests.planner.histories import training
from tests.planner.world import World, model, scratch

HOUR = timedelta(hours=1)
GPU = ", resources: {gpu: {count: 1}}"
PLACE = "https://example.com/s.git//"
FOLLOWING = """\
kind: Model
metadata: {name: a}
spec:
  source: {git: {url: https://example.com/s.git, update: Follow}}
  training: {mode: Scratch, resources: {gpu: {count: 1}}}
"""


def silence(world: World, run: str) -> None:
    """The node of a run is not heard of."""
    unheard = Reason.of(ReasonCode.NODE_UNREACHABLE, nodes=("node-1",))
    world.runs[run] = replace(world.runs[run], lost=True, reason=unheard)


def hear(world: World, run: str) -> None:
    world.runs[run] = replace(world.runs[run], lost=False, reason=None)


def trained(manifest: str, budget: float) -> tuple[World, str]:
    """A world with one training that has begun, and its run."""
    world = World({"a.yaml": manifest})
    prices = Prices(currency="EUR", gpus={"any": 1.0})
    world.settings = replace(world.settings, prices=prices, budget_month=budget)
    run = training(world, "a")
    world.start(run)
    world.sync()
    return world, run


def told(world: World) -> list[tuple[HoldKind, object]]:
    """The holds of a sync, and what is running by them."""
    return [(hold.kind, hold.reason.arguments.get("running")) for hold in world.sync().holds]


def test_a_run_on_a_silent_node_counts_for_the_budget() -> None:
    world, run = trained(scratch("a", GPU), 2.5)
    silence(world, run)
    world.sync()
    assert world.phase("a") is Phase.WAITING
    world.now += 3 * HOUR
    world.files["b.yaml"] = scratch("b", GPU)
    for _ in range(3):
        assert told(world) == [(HoldKind.BUDGET, "EUR 3.00")]
    assert world.live() == [run]
    assert world.phase("a") is Phase.WAITING, "what ran already is not held"


def test_a_run_on_a_silent_node_counts_with_other_settings_too() -> None:
    world, run = trained(scratch("a", GPU), 2.5)
    silence(world, run)
    world.files["a.yaml"] = scratch("a", ", resources: {gpu: {count: 2}}")
    world.sync()
    (task,) = (t for t in world.records[model("a")].tasks if t.task is TaskKind.TRAIN)
    assert task.reason == ReasonCode.EXECUTION_CHANGED
    world.now += 3 * HOUR
    world.files["b.yaml"] = scratch("b", GPU)
    assert told(world) == told(world) == [(HoldKind.BUDGET, "EUR 3.00")]


def follow(world: World) -> None:
    """The followed source moves, and is built."""
    world.trees[PLACE] = f"after {world.trees.get(PLACE)}"
    world.sync()
    for name in world.live():
        if world.runs[name].task is TaskKind.BUILD:
            world.succeed(name)
    world.sync()


def test_an_earlier_run_on_a_silent_node_counts_for_the_budget() -> None:
    world, run = trained(FOLLOWING, 2.5)
    follow(world)
    silence(world, run)
    world.sync()
    world.sync()
    (task,) = (t for t in world.records[model("a")].tasks if t.task is TaskKind.TRAIN)
    assert (task.reason, task.run_key) == ("PreviousRunUnreachable", world.runs[run].key)
    world.now += 3 * HOUR
    world.files["b.yaml"] = scratch("b", GPU)
    assert told(world) == told(world) == [(HoldKind.BUDGET, "EUR 3.00")]


@pytest.mark.parametrize("silent", [False, True])
def test_an_earlier_run_goes_on_and_costs_as_its_source_moves_beyond_the_budget(
    silent: bool,
) -> None:
    world, run = trained(FOLLOWING, 2.5)
    world.now += 3 * HOUR
    follow(world)
    if silent:
        silence(world, run)
    for _ in range(3):
        world.sync()
    (task,) = (t for t in world.records[model("a")].tasks if t.task is TaskKind.TRAIN)
    assert (task.job, task.run_key) == (run, world.runs[run].key)
    hear(world, run)
    world.now += HOUR
    world.succeed(run)
    world.sync()
    assert sum(world.records[model("a")].spent.values()) == pytest.approx(4)
    assert told(world) == [(HoldKind.BUDGET, "EUR 0.00")], "its cost is among what was spent"
    assert world.live() == []


def test_a_hold_has_one_id_while_an_earlier_run_goes_on_and_after_it() -> None:
    world, run = trained(FOLLOWING, 2.5)
    world.now += 3 * HOUR
    world.files["b.yaml"] = scratch("b", GPU)
    world.trees[PLACE] = "moved"
    ids = {tuple(hold.id for hold in world.sync().holds) for _ in range(4)}
    (task,) = (t for t in world.records[model("a")].tasks if t.task is TaskKind.TRAIN)
    assert (task.phase, task.job) == (TaskPhase.HELD, run)
    world.succeed(run)
    ids |= {tuple(hold.id for hold in world.sync().holds) for _ in range(3)}
    assert len(ids) == 1
    ((held,),) = ids
    assert held in task.message, "what comes after it waits for the line"
    world.released = frozenset({held})
    world.sync()
    assert not world.plan().holds, "one line releases all of it"
