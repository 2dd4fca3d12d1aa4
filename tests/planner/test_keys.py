"""The key of a task changes if and only if an input of it, or of something upstream, changes."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.types import TaskKind
from tests.planner.world import World

CHAIN: list[dict[str, Any]] = [
    {
        "kind": "Dataset",
        "metadata": {"name": "data"},
        "spec": {"source": {"git": {"url": ".", "path": "src/data"}}},
    },
    {
        "kind": "Model",
        "metadata": {"name": "base"},
        "spec": {
            "source": {"git": {"url": ".", "path": "src/base"}},
            "training": {"params": {"epochs": 3}, "dataset": {"name": "data"}},
        },
    },
    {
        "kind": "Model",
        "metadata": {"name": "tuned"},
        "spec": {
            "source": {"model": {"name": "base"}},
            "training": {"params": {"epochs": 1}, "dataset": {"name": "data"}},
        },
    },
    {
        "kind": "Model",
        "metadata": {"name": "aside"},
        "spec": {"source": {"git": {"url": ".", "path": "src/aside"}}},
    },
]
#: What depends on each task: itself, and all that its change must change.
BELOW_BASE_TRAIN = {("base", "train"), ("tuned", "train")}
BELOW_BASE_LOAD = {("base", "load")} | BELOW_BASE_TRAIN
BELOW_BASE_BUILD = {("base", "build")} | BELOW_BASE_LOAD
BELOW_DATA_LOAD = {("data", "load")} | BELOW_BASE_TRAIN
BELOW_DATA_BUILD = {("data", "build")} | BELOW_DATA_LOAD

#: A change of a field, where it is made, and exactly the keys that change with it.
INPUTS: list[tuple[str, tuple[str, ...], Any, set[tuple[str, str]]]] = [
    ("data", ("spec", "load", "params"), {"size": 2}, BELOW_DATA_LOAD),
    ("data", ("spec", "build", "rerun"), "again", BELOW_DATA_BUILD),
    ("data", ("spec", "source", "git", "buildArgs"), {"A": "b"}, BELOW_DATA_BUILD),
    ("base", ("spec", "source", "git", "dockerfile"), "other", BELOW_BASE_BUILD),
    ("base", ("spec", "source", "git", "submodules"), True, BELOW_BASE_BUILD),
    ("base", ("spec", "load", "command"), ["other.sh"], BELOW_BASE_LOAD),
    ("base", ("spec", "load", "env"), {"A": "b"}, BELOW_BASE_LOAD),
    ("base", ("spec", "load", "rerun"), "again", BELOW_BASE_LOAD),
    ("base", ("spec", "training", "params"), {"epochs": 4}, BELOW_BASE_TRAIN),
    ("base", ("spec", "training", "command"), ["other.sh"], BELOW_BASE_TRAIN),
    ("base", ("spec", "training", "rerun"), "again", BELOW_BASE_TRAIN),
    ("tuned", ("spec", "training", "mode"), "Scratch", {("tuned", "train")}),
    ("tuned", ("spec", "training", "params"), {"epochs": 2}, {("tuned", "train")}),
    ("aside", ("spec", "load", "params"), {"a": 1}, {("aside", "load")}),
]
#: Changes that say how and not what, or nothing at all.
HOWS: list[tuple[str, tuple[str, ...], Any]] = [
    ("base", ("spec", "training", "timeout"), "1h"),
    ("base", ("spec", "training", "retries"), 5),
    ("base", ("spec", "training", "resources"), {"cpu": 3, "gpu": {"count": 1}, "nodes": 2}),
    ("base", ("spec", "training", "secretEnv"), {"A": {"name": "s", "key": "k"}}),
    ("base", ("spec", "training", "profile"), "spot"),
    ("base", ("spec", "training", "queue"), "q"),
    ("base", ("spec", "training", "priority"), "high"),
    ("base", ("spec", "training", "serviceAccount"), "me"),
    ("base", ("metadata", "labels"), {"a": "b"}),
    ("base", ("metadata", "annotations"), {"substratus.ai/retry": "1"}),
    ("base", ("spec", "suspend"), True),
    ("base", ("spec", "training", "mode"), "Finetune"),
    ("base", ("spec", "training", "command"), ["train.sh"]),
    ("base", ("spec", "load", "command"), ["load.sh"]),
    ("base", ("spec", "training", "params"), {"epochs": 3.0}),
    ("base", ("spec", "source", "git", "dockerfile"), "Dockerfile"),
    ("base", ("apiVersion",), "substratus.ai/v1"),
    ("tuned", ("spec", "build", "rerun"), "it has no build"),
]
TREES = {
    "data": BELOW_DATA_BUILD,
    "base": BELOW_BASE_BUILD,
    "aside": {("aside", "build"), ("aside", "load")},
}


def world_of(documents: list[dict[str, Any]]) -> World:
    return World({f"{d['metadata']['name']}.json": json.dumps(d) for d in documents})


def changed(before: World, after: World) -> set[tuple[str, str]]:
    old, new = before.keys(), after.keys()
    assert None not in old.values()
    assert old.keys() == new.keys()
    return {(name, task.value) for (name, task), key in new.items() if old[name, task] != key}


def with_change(name: str, path: tuple[str, ...], value: Any) -> list[dict[str, Any]]:
    documents = copy.deepcopy(CHAIN)
    target: dict[str, Any] = next(d for d in documents if d["metadata"]["name"] == name)
    for part in path[:-1]:
        target = target.setdefault(part, {})
    target[path[-1]] = value
    return documents


@given(st.sampled_from(INPUTS))
def test_a_changed_input_changes_its_key_and_those_downstream_and_no_other(
    change: tuple[str, tuple[str, ...], Any, set[tuple[str, str]]],
) -> None:
    name, path, value, keys = change
    assert changed(world_of(CHAIN), world_of(with_change(name, path, value))) == keys


@given(st.sampled_from(HOWS))
def test_how_a_task_runs_and_defaults_written_out_change_no_key(
    change: tuple[str, tuple[str, ...], Any],
) -> None:
    assert changed(world_of(CHAIN), world_of(with_change(*change))) == set()


@given(st.sampled_from(sorted(TREES)))
def test_a_changed_tree_changes_the_build_and_all_below_it(name: str) -> None:
    after = world_of(CHAIN)
    after.trees[f".//src/{name}"] = "another tree"
    assert changed(world_of(CHAIN), after) == TREES[name]


@given(st.text(min_size=1, max_size=20).filter(lambda t: t not in {"src/data", "src/base"}))
def test_a_commit_elsewhere_changes_no_key(place: str) -> None:
    after = world_of(CHAIN)
    after.trees[f".//elsewhere/{place}"] = "another tree"
    assert changed(world_of(CHAIN), after) == set()


scalars = st.none() | st.booleans() | st.integers(1 - 2**53, 2**53 - 1) | st.text(max_size=8)
values = st.recursive(
    scalars | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(values, values)
def test_params_that_differ_as_json_have_keys_that_differ(one: Any, other: Any) -> None:
    def params(value: Any) -> list[dict[str, Any]]:
        return with_change("aside", ("spec", "load", "params"), {"nested": [value]})

    same = _canonical(one) == _canonical(other)
    differ = changed(world_of(params(one)), world_of(params(other)))
    assert differ == (set() if same else {("aside", "load")})


def _canonical(value: Any) -> Any:
    """Equal exactly where RFC 8785 writes the same: 3 and 3.0 are, 0 and false are not."""
    if isinstance(value, dict):
        return {key: _canonical(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_canonical(inner) for inner in value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return (type(value).__name__, value)
    return ("number", float(value))


@settings(max_examples=25)
@given(st.randoms(use_true_random=False))
def test_the_order_of_files_does_not_matter(order: random.Random) -> None:
    documents = copy.deepcopy(CHAIN)
    order.shuffle(documents)
    assert world_of(documents).keys() == world_of(CHAIN).keys()


def test_an_object_of_another_name_has_keys_of_its_own() -> None:
    twins = with_change("aside", ("metadata", "name"), "twin")
    keys = world_of([*CHAIN, twins[-1]]).keys()
    assert keys["aside", TaskKind.BUILD] == keys["twin", TaskKind.BUILD], "builds are shared"
    assert keys["aside", TaskKind.LOAD] != keys["twin", TaskKind.LOAD]
