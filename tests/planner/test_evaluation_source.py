"""Tests of their own source: built and pinned beside the model, and evaluated without training."""

from __future__ import annotations

from dataclasses import replace

from reconciler.engine import FailureClass
from reconciler.planner.object_status import HistoryEntry, ObjectStatus
from reconciler.planner.phases import Phase, TaskPhase
from reconciler.planner.run_spec import preview
from reconciler.reasons import ReasonCode, message
from reconciler.review import review, why_lines
from reconciler.types import TaskKey, TaskKind
from tests.planner.histories import restart
from tests.planner.test_gates import PROMOTED, measuring
from tests.planner.world import World, actions, finetune, model

CODE, TEST = "https://example.com/code.git", "https://example.com/test.git"
TOOL = f"""\
kind: Model
metadata: {{name: tool}}
spec: {{source: {{git: {{url: {TEST}}}}}}}
"""
TESTED = """\
kind: Model
metadata: {name: base%(annotations)s}
spec:
  source: {git: {url: %(code)s%(code_ref)s}}
  training: {mode: Scratch}
  evaluation: {command: [evaluate.sh]%(source)s, require: ["accuracy >= 0.9"]}
"""


def gated_by(
    ref: str = "", *, url: str | None = TEST, code: str = CODE, code_ref: str = "", update: str = ""
) -> str:
    """A Model whose test is at ``url``, or in its own source."""
    source = f", source: {{git: {{url: {url}{ref}}}}}" if url is not None else ""
    annotations = f", annotations: {{substratus.ai/update: {update}}}" if update else ""
    return TESTED % {
        "source": source, "annotations": annotations, "code": code, "code_ref": code_ref,
    }  # fmt: skip


FOLLOWED = gated_by(", update: Follow")


def settle(world: World, accuracy: float = 0.95) -> World:
    world.settle(measuring({"any": {"accuracy": accuracy}}))
    return world


def record(world: World) -> ObjectStatus:
    return world.records[model("base")]


def evaluation_key(world: World) -> TaskKey | None:
    return world.keys()["base", TaskKind.EVALUATE]


def built(world: World) -> dict[bool, HistoryEntry]:
    """The last builds in the history, by whether they are of the evaluation."""
    return {e.for_evaluation: e for e in record(world).history if e.task is TaskKind.BUILD}


def test_the_test_has_a_build_of_its_own_and_runs_in_that_image() -> None:
    world = settle(World({"base": FOLLOWED}))
    assert world.phases() == {"base": Phase.READY}
    specs = {spec.task: spec for spec in world.created if spec.task is not TaskKind.BUILD}
    builds = {spec.build.url: spec for spec in world.created if spec.build is not None}
    assert builds.keys() == {CODE, TEST}
    assert specs[TaskKind.TRAIN].image == f"registry/image@sha256:{builds[CODE].key}"
    assert specs[TaskKind.EVALUATE].image == f"registry/image@sha256:{builds[TEST].key}"
    assert record(world).image == specs[TaskKind.TRAIN].image, "consumers run in the model's"
    sources = [specs[kind].lineage["source"] for kind in (TaskKind.TRAIN, TaskKind.EVALUATE)]
    assert [each["url"] for each in sources if isinstance(each, dict)] == [CODE, TEST]


def test_a_test_that_moves_is_built_and_run_anew_and_nothing_is_trained() -> None:
    world = settle(World({"base": FOLLOWED, "tuned": finetune("tuned", "base")}))
    world.made()
    before, artifact = evaluation_key(world), record(world).artifact
    world.trees[f"{TEST}//"] = "newer"
    settle(world)
    assert world.made() == [("base", "evaluate"), ("build", "build")]
    assert evaluation_key(world) != before
    assert artifact is not None
    now = record(world).artifact
    assert now is not None
    assert now.key == artifact.key
    assert world.phases() == {"base": Phase.READY, "tuned": Phase.READY}


def test_a_model_that_moves_does_not_build_the_test_again() -> None:
    world = settle(World({"base": gated_by(code_ref=", update: Follow")}))
    world.made()
    world.trees[f"{CODE}//"] = "newer"
    settle(world)
    assert world.made() == [("base", "evaluate"), ("base", "train"), ("build", "build")]
    (build,) = (spec for spec in world.specs.values() if spec.build and spec.build.url == TEST)
    assert build.name in world.specs


def test_a_test_from_the_source_of_the_model_is_the_evaluation_without_one() -> None:
    without = World({"base": gated_by(url=None)})
    same = World({"base": gated_by(url=CODE)})
    assert evaluation_key(same) == evaluation_key(without)
    settle(same)
    assert same.made() == [("base", "evaluate"), ("base", "train"), ("build", "build")]


def test_a_source_that_two_objects_share_is_built_once() -> None:
    world = World({"base": FOLLOWED})
    world.files["tool"] = TOOL
    plan = world.sync()
    assert sorted(str(spec.build.url) for spec in plan.creates() if spec.build) == [CODE, TEST]
    settle(world)
    assert world.phases() == {"base": Phase.READY, "tool": Phase.READY}
    assert [made for made in world.made() if made == ("build", "build")] == [("build", "build")] * 2
    shared = {task.for_evaluation for task in record(world).tasks if task.task is TaskKind.BUILD}
    assert shared == {False, True}, "whoever owns the build"


def test_a_build_of_the_test_that_fails_is_told_as_such_and_keeps_no_training() -> None:
    world = World({"base": FOLLOWED})

    def failing(world: World, name: str) -> None:
        context = world.specs[name].build
        if context is not None and context.url == TEST:
            world.fail(name)
        else:
            world.succeed(name)

    world.settle(failing)
    found = record(world)
    assert found.phase is Phase.FAILED
    assert found.message == "evaluation build: the command exited with 1"
    phases = {task.label: task.phase for task in found.tasks}
    assert phases == {
        "build": TaskPhase.SUCCEEDED,
        "train": TaskPhase.SUCCEEDED,
        "evaluation build": TaskPhase.FAILED,
        "evaluate": TaskPhase.WAITING,
    }
    assert found.artifact is None, "nothing has accepted it"
    told = [text for _, text in why_lines(world.plan(), model("base"))]
    assert any(text.startswith("evaluation build: failed") for text in told)
    assert any(text.startswith("evaluation build of Model default/base: failed") for text in told)
    restart(world)
    world.settle(failing)
    assert record(world).message == found.message, "after a restart too"


def test_a_test_that_cannot_be_read_lets_the_training_go_on() -> None:
    world = World({"base": FOLLOWED})
    world.trees[f"{TEST}//"] = "unreachable"
    settle(world)
    assert world.made() == [("base", "train"), ("build", "build")]
    assert record(world).phase is Phase.WAITING
    assert record(world).reason == ReasonCode.SOURCE_UNAVAILABLE
    world.trees[f"{TEST}//"] = "back"
    settle(world)
    assert world.phases() == {"base": Phase.READY}


def test_a_build_of_the_test_goes_on_while_the_training_is_unknown() -> None:
    world = World({"base": gated_by(code_ref=", update: Follow")})
    world.trees[f"{CODE}//"] = "unreachable"
    world.sync()
    assert [spec.build.url for spec in world.created if spec.build] == [TEST]
    world.start(world.live()[0])
    plan = world.sync()
    assert not plan.endings
    assert world.live()


def test_a_pinned_test_stays_and_says_that_it_moved() -> None:
    world = settle(World({"base": gated_by()}))
    world.made()
    found = record(world).evaluation_source
    assert found is not None
    world.trees[f"{TEST}//"] = "newer"
    settle(world)
    assert world.made() == []
    assert record(world).evaluation_source == found
    (update,) = (c for c in record(world).conditions if c.type == "UpdateAvailable")
    assert update.reason == ReasonCode.NEWER_COMMIT
    assert update.message.startswith("the evaluation's source is pinned at ")
    world.trees[f"{CODE}//"] = "newer"
    settle(world)
    (update,) = (c for c in record(world).conditions if c.type == "UpdateAvailable")
    assert update.reason == ReasonCode.NEWER_COMMITS
    restart(world)
    settle(world)
    assert world.made() == [], "the pins are recorded"
    world.trees[f"{CODE}//"] = f"{CODE}//"
    world.files["base"] = gated_by(update="now")
    settle(world)
    assert world.made() == [("base", "evaluate"), ("build", "build")]
    assert "UpdateAvailable" not in {c.type for c in record(world).conditions}


def test_the_history_has_the_commit_of_what_was_built() -> None:
    world = settle(World({"base": FOLLOWED}))
    own, evaluation = record(world).source, record(world).evaluation_source
    assert own is not None
    assert evaluation is not None
    assert own.commit != evaluation.commit
    assert built(world)[False].source == own.commit
    assert built(world)[True].source == evaluation.commit
    by_task = {e.task: e for e in record(world).history if e.task is not TaskKind.BUILD}
    assert by_task[TaskKind.TRAIN].source == own.commit
    assert by_task[TaskKind.EVALUATE].source == evaluation.commit
    assert by_task[TaskKind.EVALUATE].image == built(world)[True].image


def test_a_promotion_can_be_tested_by_code_of_its_own() -> None:
    promoted = PROMOTED % "" + (
        f"  evaluation: {{command: [smoke.sh], source: {{git: {{url: {TEST}}}}}}}\n"
    )
    promoted = promoted.replace(
        "spec: {source: {model: {name: base}}, load: {command: []}}\n",
        "spec:\n  source: {model: {name: base}}\n  load: {command: []}\n",
    )
    world = settle(World({"base": gated_by(url=None), "production": promoted}))
    assert world.phases() == {"base": Phase.READY, "production": Phase.READY}
    assert ("production", "evaluate") in world.made()


def test_a_plan_names_the_source_of_the_test_that_moved_and_both_builds() -> None:
    world = settle(World({"base": FOLLOWED, "tuned": finetune("tuned", "base")}))
    before = world.plan()
    world.trees[f"{TEST}//"] = "newer"
    found = review(world.plan(), before=before, errors=())
    (base,) = (each for each in found.objects if each.ref == model("base"))
    assert base.why is not None
    (move,) = base.why.moves
    assert str(move).startswith(f"evaluation source {TEST} moved: ")
    assert not base.why.is_own, "its artifact stays"
    assert {a.label for a in base.actions if a.action.changes} == {"evaluation build", "evaluate"}
    evaluate = next(a for a in base.actions if a.label == "evaluate")
    assert message(evaluate.reason) == "waiting for its evaluation build"
    assert actions(world.plan())["tuned", "train"].value == "keep"


def test_a_preview_of_the_evaluation_is_of_the_image_of_the_test() -> None:
    world = World({"base": FOLLOWED})
    found = preview(world.inputs(), model("base"), image_tag=lambda _, key: f"tag:{key}")
    builds = {p.spec.build.url: p.spec.key for p in found if p.spec and p.spec.build}
    images = {p.task: p.spec.image for p in found if p.spec is not None}
    assert images[TaskKind.TRAIN] == f"tag:{builds[CODE]}"
    assert images[TaskKind.EVALUATE] == f"tag:{builds[TEST]}"


def test_a_lost_attempt_of_either_build_is_told_apart() -> None:
    world = World({"base": FOLLOWED})
    world.sync()
    (run,) = (n for n in world.live() if (c := world.specs[n].build) and c.url == TEST)
    world.start(run)
    world.sync()
    world.runs[run] = replace(world.runs[run], started=world.now)
    world.fail(run, FailureClass.INFRASTRUCTURE)
    world.sync()
    (entry,) = (e for e in record(world).history if e.phase is TaskPhase.INTERRUPTED)
    assert entry.for_evaluation
