"""What is done is not looked at again, until something of it differs.

That plans and records are the same whether or not anything is remembered is asserted by the world
of every test here (`World.plan`, `World.sync`); these tests say what is looked at.
"""

from __future__ import annotations

import pytest

from reconciler.planner.plan import ActionKind
from reconciler.types import TaskKind
from tests.planner.world import World, finetune, model, scratch


@pytest.fixture
def world() -> World:
    found = World({f"{name}.yaml": scratch(name) for name in "ab"})
    found.files["c.yaml"] = finetune("c", "a")
    found.settle()
    found.sync()  # nothing has changed, which is when an object is known to be done
    return found


def test_of_many_objects_those_are_looked_at_that_have_changed(world: World) -> None:
    assert world.plan().decided == {}
    world.files["b.yaml"] = scratch("b").replace("epochs: 3", "epochs: 4")
    assert world.plan().decided.keys() == {model("b")}


def test_what_is_downstream_of_a_change_is_looked_at_too(world: World) -> None:
    world.files["a.yaml"] = scratch("a").replace("epochs: 3", "epochs: 4")
    assert world.plan().decided.keys() == {model("a"), model("c")}


def test_a_source_that_moves_is_a_change(world: World) -> None:
    world.trees[".//src/b"] = "another tree"
    assert world.plan().decided.keys() == {model("b")}


def test_a_superseded_run_that_will_not_end_is_ended_again_and_again(world: World) -> None:
    good = world.files["b.yaml"]
    world.files["b.yaml"] = good.replace("epochs: 3", "epochs: 4")
    world.sync()
    stubborn = world.runs[world.run_of("b", TaskKind.TRAIN)]
    world.files["b.yaml"] = good
    for _ in range(4):
        (ending,) = world.sync().endings
        assert (ending.run.name, ending.action) == (stubborn.name, ActionKind.CANCEL)
        world.runs[stubborn.name] = stubborn


def test_a_result_that_is_lost_with_the_daemon_is_looked_for_by_the_next(world: World) -> None:
    world.ledger = type(world.ledger)()
    for record in world.records.values():
        world.ledger.learn_record(record)
    assert world.plan().decided.keys() == world.records.keys()


def test_what_is_asked_for_is_the_very_same_where_nothing_has_changed(world: World) -> None:
    before = world.plan().situation.desired
    assert world.plan().situation.desired is before
    world.files["b.yaml"] = scratch("b").replace("epochs: 3", "epochs: 4")
    after = world.plan().situation.desired
    assert {ref for ref in after if after[ref] is not before[ref]} == {model("b")}
    assert before is not after, "a plan stays as it was, whoever looks at it when"


def test_references_that_pin_keys_in_a_circle_are_worked_out_as_if_nothing_was_remembered(
    world: World,
) -> None:
    keys = {name: world.records[model(name)].desired for name in "ab"}
    for one, other in ("ab", "ba"):
        world.files[f"{one}2.yaml"] = finetune(f"{one}2", other).replace(
            f"{{name: {other}}}", f"{{name: {other}, key: {keys[other]}}}"
        )
    pinned = world.files["a2.yaml"].replace(f"name: b, key: {keys['b']}", "name: b2, key: %s")
    world.settle()
    world.files["a2.yaml"] = pinned % world.records[model("b2")].desired
    world.files["b2.yaml"] = world.files["b2.yaml"].replace(
        f"name: a, key: {keys['a']}", f"name: a2, key: {world.records[model('a2')].desired}"
    )
    world.settle()
    assert not world.memo.ordered
    world.files["b.yaml"] = scratch("b").replace("epochs: 3", "epochs: 4")
    world.settle()
    assert world.phases()["a2"] == world.phases()["b2"] == world.phases()["b"] == "Ready"
