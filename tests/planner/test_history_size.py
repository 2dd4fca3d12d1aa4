"""The history of an object stays small, whatever its params are."""

from __future__ import annotations

import json

import pytest

from reconciler.planner.entry_params import LARGEST_PARAMS
from reconciler.planner.object_status import HistoryEntry
from reconciler.types import JSON
from tests.planner.world import World, model, scratch


def trained(world: World) -> HistoryEntry:
    world.settle()
    return world.records[model("a")].history[-1]


def with_params(params: dict[str, JSON]) -> str:
    """A manifest with these params of its training."""
    before = scratch("a")
    after = before.replace("epochs: 3", json.dumps(params)[1:-1].replace("{", "{ "))
    assert after != before
    return after


def test_small_params_stand_whole_in_an_entry() -> None:
    params: dict[str, JSON] = {"epochs": 3, "prompt": "x" * 500}
    assert trained(World({"a.yaml": with_params(params)})).params == params


def test_a_large_value_is_named_by_its_size_and_digest() -> None:
    params: dict[str, JSON] = {"epochs": 3, "prompt": "x" * 60_000}
    entry = trained(World({"a.yaml": with_params(params)}))
    assert entry.params["epochs"] == 3
    assert "60002 characters, sha256 " in str(entry.params["prompt"])
    params["prompt"] = "y" * 60_000
    other = trained(World({"a.yaml": with_params(params)}))
    assert other.params["prompt"] != entry.params["prompt"]


@pytest.mark.parametrize("count", [50, 900])
def test_the_params_of_an_entry_are_bounded(count: int) -> None:
    params: dict[str, JSON] = {f"name-{n}": "x" * (45_000 // count) for n in range(count)}
    first = trained(World({"a.yaml": with_params(params)})).params
    assert len(json.dumps(dict(first), ensure_ascii=False)) < LARGEST_PARAMS * 1.5
    params[f"name-{count - 1}"] = "another"
    assert trained(World({"a.yaml": with_params(params)})).params != first
