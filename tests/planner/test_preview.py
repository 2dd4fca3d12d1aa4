"""A preview is the run that a sync then creates; and which labels a run has."""

from __future__ import annotations

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


def test_a_run_has_its_manifests_labels_but_for_those_that_are_others() -> None:
    labels = """{
      team: vision, app.kubernetes.io/part-of: shop, app.kubernetes.io/managed-by: me,
      substratus.ai/key: "0", kueue.x-k8s.io/queue-name: theirs, job-name: x,
      batch.kubernetes.io/job-name: x}"""
    manifest = scratch("a").replace("{name: a}", f"{{name: a, labels: {labels}}}")
    world = World({"a.yaml": manifest})
    for item in previews(world, "a").values():
        assert item.spec is not None
        found = dict(item.spec.labels)
        assert found.pop("team") == "vision"
        assert found.pop("app.kubernetes.io/part-of") == "shop"
        assert found.pop("app.kubernetes.io/managed-by") == "reconciler"
        assert found.pop("substratus.ai/key") == item.spec.key
        assert all(name.startswith("substratus.ai/") for name in found)
