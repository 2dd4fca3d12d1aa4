"""Unchanged objects are not planned again until one of their inputs differs.

That plans and records are the same whether or not anything is remembered is asserted by the world
of every test here (`World.plan`, `World.sync`); these tests say what is looked at.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.planner.diff import make_plan
from reconciler.planner.phases import Phase
from reconciler.planner.plan import ActionKind
from reconciler.types import Location, Problem, TaskKind
from tests.planner.histories import changed, restart
from tests.planner.world import World, finetune, model, scratch

BUILD = TaskKind.BUILD


@pytest.fixture
def world() -> World:
    found = World({f"{name}.yaml": scratch(name) for name in "ab"})
    found.files["c.yaml"] = finetune("c", "a")
    found.settle()
    found.sync()  # nothing has changed, which is when an object is known to be done
    return found


def test_of_many_objects_those_are_looked_at_that_have_changed(world: World) -> None:
    assert world.plan().decided == {}
    world.files["b.yaml"] = changed("b", 4)
    assert world.plan().decided.keys() == {model("b")}


def test_what_is_downstream_of_a_change_is_looked_at_too(world: World) -> None:
    world.files["a.yaml"] = changed("a", 4)
    assert world.plan().decided.keys() == {model("a"), model("c")}


def test_a_source_that_moves_is_a_change(world: World) -> None:
    world.trees[".//src/b"] = "another tree"
    assert world.plan().decided.keys() == {model("b")}


@pytest.mark.parametrize("amended", [False, True])
def test_another_base_is_followed_from_then_on(world: World, amended: bool) -> None:
    before = world.collect()
    world.files["c.yaml"] = finetune("c", "b")
    if amended:  # by whoever knows that nothing else is different
        (manifest,) = world.read("c.yaml", world.files["c.yaml"]).manifests
        found = replace(before, objects={**before.objects, manifest.ref: manifest})
        world.collected = dict(world.files), found
    world.settle()
    world.sync()
    world.files["b.yaml"] = changed("b", 4)
    assert world.plan().decided.keys() == {model("b"), model("c")}
    world.settle()
    world.sync()
    world.files["a.yaml"] = changed("a", 4)
    assert world.plan().decided.keys() == {model("a")}


def test_what_a_sync_has_changed_is_looked_at_once_more(world: World) -> None:
    world.files["b.yaml"] = changed("b", 4)
    world.sync()
    world.succeed(world.run_of("b", TaskKind.TRAIN))
    assert world.sync().decided.keys() == {model("b")}, "its record says Ready now"
    assert world.sync().decided.keys() == {model("b")}, "and stays as it is"
    assert world.sync().decided == {}


def test_an_object_whose_manifest_is_wrong_now_is_looked_at(world: World) -> None:
    inputs = world.inputs(world.cache)
    wrong = replace(
        inputs, invalid={model("b"): Problem(Location("b.yaml", 1, 1), "", "it is wrong")}
    )
    assert make_plan(wrong, world.cache).decided.keys() == {model("b")}


def test_an_object_that_never_was_right_goes_with_its_file(world: World) -> None:
    world.files["d.yaml"] = scratch("d", ", timeout: soon")
    world.sync()
    assert world.phases()["d"] is Phase.INVALID
    del world.files["d.yaml"]
    assert world.sync().removed == {model("d")}
    assert world.sync().removed == set()


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
    restart(world)
    assert world.plan().decided.keys() == world.records.keys()


def test_a_lost_image_makes_every_object_be_looked_at_once(world: World) -> None:
    (build,) = {d.task.key for d in world.plan().decisions_of(model("b")) if d.task.kind is BUILD}
    assert build is not None
    world.ledger.lose(build, world.now)
    assert world.sync().decided.keys() == world.records.keys()
    world.sync()
    assert world.plan().decided.keys() == {model("b")}, "its build is not needed now"


def test_what_is_asked_for_is_the_very_same_where_nothing_has_changed(world: World) -> None:
    before = world.plan().inputs.desired
    assert world.plan().inputs.desired is before
    world.files["b.yaml"] = changed("b", 4)
    after = world.plan().inputs.desired
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
    world.files["b.yaml"] = changed("b", 4)
    world.settle()
    assert world.phases()["a2"] == world.phases()["b2"] == world.phases()["b"] == "Ready"
