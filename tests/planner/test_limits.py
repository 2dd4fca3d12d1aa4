"""Limits of what runs at once, and of what an engine can do at all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.engine import Capacity
from reconciler.planner.phases import Phase
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


GPUS = scratch("a", ", resources: {gpu: {count: 2}}")


@pytest.mark.parametrize(
    ("manifest", "capacity", "allowed", "reason"),
    [
        (GPUS, Capacity(containers=False, gpus=1), "*", "it needs 2, and"),
        (IMAGE, Capacity(containers=False), "*", "container"),
        (IMAGE, Capacity(containers=True), "other/*", "allow.images"),
    ],
    ids=["more GPUs", "an image without containers", "an image that is not allowed"],
)
def test_what_the_engine_or_the_configuration_cannot_give_is_waited_for(
    manifest: str, capacity: Capacity, allowed: str, reason: str
) -> None:
    world = World({"a.yaml": manifest}, capacity=capacity)
    world.settings = replace(world.settings, allow_images=(allowed,))
    world.settle()
    assert world.phase("a") is Phase.WAITING
    assert reason in world.records[model("a")].message
