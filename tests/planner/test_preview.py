"""A preview is the run that a sync then creates; and which labels a run has."""

from __future__ import annotations

from dataclasses import replace

from reconciler.planner.run_spec import Preview, preview
from reconciler.reasons import message
from reconciler.types import TaskKey, TaskKind
from tests.planner.world import World, finetune, model, scratch

FILES = {
    "base.yaml": scratch("base"),
    "fine.yaml": finetune("fine", "base"),
    # The same image as base's: one build, which the first of them by name says how to run.
    "twin.yaml": scratch("twin").replace("src/twin", "src/base")
    + "  build: {timeout: 2h}\n  suspend: true\n",
}


def tag(namespace: str, key: TaskKey) -> str:
    return f"registry/{namespace}:{key}"


def previews(world: World, name: str) -> dict[TaskKind, Preview]:
    found = preview(world.plan().inputs, model(name), image_tag=tag)
    return {item.task: item for item in found}


def test_a_preview_is_the_run_that_was_created() -> None:
    world = World(FILES)
    world.settle()
    for name in ("base", "fine"):
        for item in previews(world, name).values():
            assert item.spec is not None
            assert not item.unbuilt
            assert world.specs[item.spec.name] == item.spec


def test_before_anything_is_made_all_but_the_digest_is_known() -> None:
    world = World(FILES)
    before = previews(world, "base") | previews(world, "fine")
    world.settle()
    for item in before.values():
        assert item.spec is not None
        made = world.specs[item.spec.name]
        assert item.spec.base == made.base
        assert item.spec.output == made.output
        if item.task is TaskKind.TRAIN:
            assert item.unbuilt
            build = before[TaskKind.BUILD].spec
            assert build is not None
            assert item.spec.image == f"registry/default:{build.key}"


def test_a_shared_build_runs_as_its_first_object_says() -> None:
    world = World(FILES)
    mine, first = previews(world, "twin")[TaskKind.BUILD], previews(world, "base")[TaskKind.BUILD]
    assert mine == first


def test_a_task_whose_inputs_are_unknown_says_so() -> None:
    world = World({"fine.yaml": finetune("fine", "base"), "base.yaml": scratch("base")})
    world.trees[".//src/base"] = "unreachable"
    for item in (*previews(world, "base").values(), *previews(world, "fine").values()):
        assert item.spec is None
        assert item.reason is not None
        assert "connection refused" in message(item.reason)


LABELS = """{
      team: vision, app.kubernetes.io/part-of: shop, app.kubernetes.io/managed-by: me,
      substratus.ai/key: "0", kueue.x-k8s.io/queue-name: theirs, job-name: x,
      batch.kubernetes.io/job-name: x}"""


def labelled(*allowed: str) -> list[dict[str, str]]:
    """The labels of a labelled model's runs."""
    world = World({"a.yaml": scratch("a").replace("{name: a}", f"{{name: a, labels: {LABELS}}}")})
    world.settings = replace(world.settings, allow_labels=allowed)
    specs = [item.spec for item in previews(world, "a").values()]
    labels = [dict(spec.labels) for spec in specs if spec is not None]
    assert len(labels) == 2, "of its build and its training"
    return labels


def test_a_run_has_no_label_that_selects_pods_for_others() -> None:
    for found in labelled():
        assert found.pop("app.kubernetes.io/managed-by") == "reconciler"
        assert all(name.startswith("substratus.ai/") for name in found)


def test_a_run_has_those_of_its_manifests_labels_that_are_allowed() -> None:
    for found in labelled("team", "cost-*"):
        assert found["team"] == "vision"
        assert "app.kubernetes.io/part-of" not in found


def test_labels_that_identify_runs_and_queues_are_no_manifests_whatever_is_allowed() -> None:
    for found in labelled("*"):
        assert found.pop("team") == "vision"
        assert found.pop("app.kubernetes.io/part-of") == "shop"
        assert found.pop("app.kubernetes.io/managed-by") == "reconciler"
        assert found.pop("substratus.ai/key") != "0"
        assert all(name.startswith("substratus.ai/") for name in found)
