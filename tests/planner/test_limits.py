"""Limits of what runs at once, and of what an engine can do at all."""

from __future__ import annotations

from dataclasses import replace

from reconciler.engine import Capacity
from reconciler.planner.object_status import Phase
from tests.planner.world import World, model, scratch

IMAGE = """\
kind: Model
metadata: {name: a}
spec: {source: {image: {ref: "registry/a@sha256:%s"}}}
""" % ("0" * 64)


def test_no_more_runs_than_the_limit_are_live_at_once() -> None:
    world = World({f"{name}.yaml": scratch(name) for name in "abcdef"})
    world.settings = replace(world.settings, limit_runs=2)
    most = 0
    for _ in range(20):
        world.sync()
        most = max(most, len(world.live()))
        for name in world.live():
            world.succeed(name)
    assert most == 2
    assert set(world.phases().values()) == {Phase.READY}


def test_gpus_at_once_are_limited() -> None:
    world = World(
        {f"{name}.yaml": scratch(name, ", resources: {gpu: {count: 2}}") for name in "abc"}
    )
    world.settings = replace(world.settings, limit_gpus=5)
    world.sync()
    for name in world.live():
        world.succeed(name)
    plan = world.sync()
    assert len(plan.creates()) == 2
    assert "limits.gpus" in world.records[model("c")].message


def test_more_gpus_than_the_engine_has_is_waiting() -> None:
    world = World({"a.yaml": scratch("a", ", resources: {gpu: {count: 2}}")})
    world.capacity = Capacity(containers=False, gpus=1)
    world.settle()
    assert world.phase("a") is Phase.WAITING
    assert "2 GPUs" in world.records[model("a")].message


def test_an_image_waits_on_an_engine_without_containers() -> None:
    world = World({"a.yaml": IMAGE})
    world.capacity = Capacity(containers=False)
    world.settle()
    assert world.phase("a") is Phase.WAITING
    assert "container" in world.records[model("a")].message


def test_an_image_outside_the_allow_list_waits() -> None:
    world = World({"a.yaml": IMAGE})
    world.settings = replace(world.settings, allow_images=("other/*",))
    world.settle()
    assert world.phase("a") is Phase.WAITING
    assert "allow.images" in world.records[model("a")].message
