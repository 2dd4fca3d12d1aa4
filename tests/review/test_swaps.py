"""What a plan says of production that comes to serve another artifact."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.review import Review, plan_document, render_markdown, review
from reconciler.review.text import render_text
from reconciler.types import TaskKey
from tests.planner.histories import changed
from tests.planner.test_gates import gated, measuring
from tests.planner.world import World, model, scratch

PRODUCTION = (
    "kind: Model\nmetadata: {name: prod}\n"
    "spec: {source: {model: {name: %s}}, load: {command: []}}\n"
)
ACCURACY = {"a": 0.91, "b": 0.93}


def measured(world: World, run: str) -> None:
    """End a run with the accuracy of its object."""
    world.succeed(run)
    of = world.runs[run].object
    result = world.runs[run].result
    if of is not None and result is not None:
        metrics = {"accuracy": ACCURACY[of.name]}
        world.runs[run] = replace(world.runs[run], result=replace(result, metrics=metrics))


def settled() -> World:
    world = World({"a.yaml": scratch("a"), "b.yaml": scratch("b"), "p.yaml": PRODUCTION % "a"})
    world.settle(measured)
    return world


def key_of(world: World, name: str) -> TaskKey:
    artifact = world.records[model(name)].artifact
    assert artifact is not None
    return artifact.key


def reviewed(world: World, **files: str) -> Review:
    """The review of a change of these files."""
    before = world.plan()
    world.files |= {f"{name}.yaml": manifest for name, manifest in files.items()}
    return review(world.plan(), before=before, errors=())


def test_a_swap_is_a_line_with_both_artifacts_and_their_metrics() -> None:
    world = settled()
    a, b = key_of(world, "a")[:12], key_of(world, "b")[:12]
    found = reviewed(world, p=PRODUCTION % "b")
    line = f"  Model default/prod serves a {a} → b {b}; accuracy 0.91 → 0.93"
    assert line in render_text(found).splitlines()
    markdown = f"- **Model** `default/prod` serves `a {a}` → `b {b}`; `accuracy` 0.91 → 0.93"
    assert markdown in render_markdown(found).splitlines()
    assert "1 promotion serves another artifact" in render_text(found)


def test_json_has_both_sides_of_a_swap() -> None:
    world = settled()
    found = reviewed(world, p=PRODUCTION % "b")
    summary = plan_document(found)["summary"]
    assert isinstance(summary, dict)
    assert summary["swaps"] == [
        {
            "kind": "Model",
            "namespace": "default",
            "name": "prod",
            "before": {
                "object": "Model default/a",
                "key": key_of(world, "a"),
                "made": True,
                "metrics": {"accuracy": 0.91},
            },
            "after": {
                "object": "Model default/b",
                "key": key_of(world, "b"),
                "made": True,
                "metrics": {"accuracy": 0.93},
            },
        }
    ]


def test_the_metrics_of_what_is_still_to_be_made_are_unknown() -> None:
    world = settled()
    found = reviewed(world, a=changed("a"))
    (swap,) = found.swaps
    (line,) = (line for line in render_text(found).splitlines() if "prod serves" in line)
    keys = f"a {swap.before.key[:12]} → a {swap.after.key[:12]}"
    assert line.endswith(f"serves {keys} once that is made; accuracy 0.91 → unknown")


def test_a_swap_that_the_base_makes_too_is_not_the_change_s() -> None:
    world = settled()
    world.files["a.yaml"] = changed("a")
    assert reviewed(world, c=scratch("c")).swaps == ()


def test_a_new_promotion_swaps_nothing() -> None:
    world = settled()
    new = (PRODUCTION % "b").replace("name: prod", "name: next")
    assert reviewed(world, n=new).swaps == ()


def rejected() -> World:
    """Production of an object whose newest artifact a gate has rejected."""
    world = World({"a.yaml": gated(), "p.yaml": PRODUCTION % "base"})
    world.settle(measuring({"any": {"accuracy": 0.95}}))
    world.files["a.yaml"] = gated(epochs=2)
    world.settle(measuring({"any": {"accuracy": 0.5}}))
    return world


@pytest.mark.parametrize("way", ["accept", "require"])
def test_what_releases_a_gate_swaps_what_production_serves(way: str) -> None:
    world = rejected()
    candidate = world.records[model("base")].candidate
    assert candidate is not None
    assert reviewed(world, c=scratch("c")).swaps == ()
    if way == "accept":
        released = gated(epochs=2, accept=candidate.key[:12])
    else:
        released = gated(epochs=2, require="accuracy >= 0.4")
    found = reviewed(world, a=released)
    (swap,) = found.swaps
    assert (swap.ref, swap.after.key) == (model("prod"), candidate.key)
    assert found.changes
    assert "Model default/prod serves" in render_text(found)
