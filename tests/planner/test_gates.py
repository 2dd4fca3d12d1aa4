"""Gates: what does not pass is kept, and is nobody's base until Git accepts it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from reconciler.engine import FailureClass
from reconciler.planner.gates import new_verdicts
from reconciler.planner.object_status import ObjectStatus, Verdict
from reconciler.planner.phases import Phase
from reconciler.reasons import ReasonCode
from reconciler.review import why_lines
from reconciler.types import Metrics, TaskKind
from tests.planner.histories import restart
from tests.planner.world import World, actions, finetune, model, scratch

GATED = """\
kind: Model
metadata: {name: base%(annotations)s}
spec:
  source: {git: {url: ., path: src/base}}
  training: {mode: Scratch, params: {epochs: %(epochs)s}}
  evaluation: {%(evaluation)s}
"""
PROMOTED = """\
kind: Model
metadata: {name: production}
spec: {source: {model: {name: base%s}}, load: {command: []}}
"""
TEST = "command: [evaluate.sh], params: {version: %s}, require: [%s]"
HELD_OUT = "kind: Dataset\nmetadata: {name: held-out}\nspec: {source: {bucket: {url: s3://b/h}}}\n"


def gated(
    *, epochs: int = 1, require: str = "accuracy >= 0.9", test: int = 1, accept: str = ""
) -> str:
    evaluation = TEST % (test, f'"{require}"')
    annotations = f', annotations: {{substratus.ai/accept: "{accept}"}}' if accept else ""
    return GATED % {"epochs": epochs, "evaluation": evaluation, "annotations": annotations}


def measuring(metrics: Mapping[str, Metrics]) -> Callable[[World, str], None]:
    """Let runs succeed; an evaluation has the metrics of the key that it is of, or any."""

    def end(world: World, name: str) -> None:
        world.succeed(name)
        spec, run = world.specs[name], world.runs[name]
        if spec.task is TaskKind.EVALUATE and run.result is not None:
            assert spec.artifact is not None
            found = metrics.get(spec.artifact.key, metrics.get("any", {}))
            world.runs[name] = replace(run, result=replace(run.result, metrics=found))

    return end


def settle(world: World, accuracy: float | None) -> None:
    metrics: Metrics = {} if accuracy is None else {"accuracy": accuracy}
    world.settle(measuring({"any": metrics}))


def record(world: World, name: str = "base") -> ObjectStatus:
    return world.records[model(name)]


def desired_key(world: World) -> str:
    key = record(world).desired
    assert key is not None
    return key


def worlds(first: float = 0.95, **more: str) -> World:
    """A gated base and what is made of it, complete with a first accuracy."""
    world = World({"base": gated(), "tuned": finetune("tuned", "base"), **more})
    settle(world, first)
    world.made()
    return world


def test_an_artifact_that_passes_is_ready_and_a_base() -> None:
    world = World({"base": gated(), "tuned": finetune("tuned", "base")})
    settle(world, 0.95)
    assert world.phases() == {"base": Phase.READY, "tuned": Phase.READY}
    assert world.made() == [
        ("base", "evaluate"), ("base", "train"), ("build", "build"), ("tuned", "train"),
    ]  # fmt: skip
    made = [entry for entry in record(world).history if entry.task is TaskKind.TRAIN]
    assert [entry.verdict for entry in made] == [Verdict.ACCEPTED]


def test_an_artifact_that_fails_is_rejected_and_nobody_s_base() -> None:
    world = World({"base": gated(), "tuned": finetune("tuned", "base")})
    settle(world, 0.8)
    assert world.phases() == {"base": Phase.REJECTED, "tuned": Phase.WAITING}
    base = record(world)
    assert base.artifact is None
    assert base.candidate is not None
    assert base.candidate.key == base.desired
    assert base.candidate.metrics == {"accuracy": 0.8}
    assert base.candidate.failed == ("accuracy >= 0.9 (found 0.8)",)
    assert record(world, "tuned").reason == ReasonCode.BASE_REJECTED
    assert ("tuned", "train") not in world.made()


def test_what_was_accepted_stays_while_a_worse_one_is_rejected() -> None:
    world = worlds(0.95, production=PROMOTED % "")
    before = record(world).artifact
    world.files["base"] = gated(epochs=2)
    settle(world, 0.5)
    assert world.phases() == {
        "base": Phase.REJECTED, "tuned": Phase.WAITING, "production": Phase.READY,
    }  # fmt: skip
    assert record(world).artifact == before
    assert before is not None
    served = record(world, "production")
    assert served.artifact is not None
    assert served.artifact.key == before.key
    assert served.reason == ReasonCode.STILL_SERVING
    assert ("tuned", "train") not in world.made()


def test_a_missing_metric_fails_its_line() -> None:
    world = World({"base": gated()})
    settle(world, None)
    candidate = record(world).candidate
    assert candidate is not None
    assert candidate.failed == ("accuracy >= 0.9 (no such metric)",)


def test_an_annotation_accepts_a_rejected_artifact_and_runs_only_what_waited() -> None:
    world = World({"base": gated(), "tuned": finetune("tuned", "base")})
    settle(world, 0.8)
    world.made()
    key = desired_key(world)
    world.files["base"] = gated(accept=key[:12])
    settle(world, 0.8)
    assert world.phases() == {"base": Phase.READY, "tuned": Phase.READY}
    assert world.made() == [("tuned", "train")]
    world.files["base"] = gated()  # the annotation may go: what is accepted stays so
    settle(world, 0.8)
    assert world.phases() == {"base": Phase.READY, "tuned": Phase.READY}


def test_the_annotation_accepts_no_other_artifact() -> None:
    world = World({"base": gated(accept="0" * 40)})
    settle(world, 0.8)
    assert world.phase("base") is Phase.REJECTED


def test_a_change_of_require_runs_nothing_and_judges_anew() -> None:
    world = World({"base": gated()})
    settle(world, 0.8)
    world.made()
    world.files["base"] = gated(require="accuracy >= 0.7")
    settle(world, 0.8)
    assert world.phase("base") is Phase.READY
    assert world.made() == []


def test_a_stricter_require_does_not_take_back_what_was_accepted() -> None:
    world = worlds(0.95)
    world.files["base"] = gated(require="accuracy >= 0.99")
    settle(world, 0.95)
    assert world.phases() == {"base": Phase.READY, "tuned": Phase.READY}
    assert world.made() == []


def test_a_change_of_the_test_runs_the_test_and_no_training() -> None:
    world = worlds(0.95)
    world.files["base"] = gated(test=2)
    settle(world, 0.5)
    assert world.made() == [("base", "evaluate")]
    assert world.phase("base") is Phase.READY  # accepted it was


def test_a_line_with_current_passes_while_nothing_is_accepted() -> None:
    world = World({"base": gated(require="accuracy >= current.accuracy - 0.01")})
    settle(world, 0.5)
    assert world.phase("base") is Phase.READY


@pytest.mark.parametrize(("accuracy", "phase"), [(0.895, Phase.READY), (0.88, Phase.REJECTED)])
def test_a_line_with_current_compares_with_the_accepted_artifact(
    accuracy: float, phase: Phase
) -> None:
    compared = "accuracy >= current.accuracy - 0.01"
    world = World({"base": gated(require=compared)})
    settle(world, 0.9)
    world.made()
    world.files["base"] = gated(epochs=2, require=compared)
    settle(world, accuracy)
    assert world.phase("base") is phase
    assert world.made() == [("base", "evaluate"), ("base", "train")]


def test_current_is_evaluated_again_where_the_test_has_changed() -> None:
    compared = "accuracy >= current.accuracy"
    world = World({"base": gated(require=compared)})
    settle(world, 0.9)
    accepted = desired_key(world)
    world.made()
    world.files["base"] = gated(epochs=2, test=2, require=compared)
    # By the new test, the accepted one is worse than the old test had it.
    world.settle(measuring({accepted: {"accuracy": 0.6}, "any": {"accuracy": 0.7}}))
    assert world.made() == [("base", "evaluate"), ("base", "evaluate"), ("base", "train")]
    assert world.phase("base") is Phase.READY
    assert desired_key(world) != accepted


def test_a_pinned_key_of_a_rejected_artifact_is_not_taken_over() -> None:
    world = worlds(0.95)
    world.files["base"] = gated(epochs=2)
    settle(world, 0.5)
    rejected = desired_key(world)
    world.files["production"] = PROMOTED % f", key: '{rejected}'"
    settle(world, 0.5)
    assert record(world, "production").reason == ReasonCode.BASE_REJECTED
    assert record(world, "production").artifact is None
    world.files["base"] = gated()  # reverted: the other one is still rejected
    settle(world, 0.5)
    assert world.phase("base") is Phase.READY
    assert record(world, "production").reason == ReasonCode.BASE_REJECTED


def test_a_revert_to_an_accepted_artifact_runs_nothing() -> None:
    world = worlds(0.95)
    world.files["base"] = gated(epochs=2)
    settle(world, 0.5)
    world.made()
    world.files["base"] = gated()
    settle(world, 0.5)
    assert world.phases() == {"base": Phase.READY, "tuned": Phase.READY}
    assert world.made() == []


def test_a_failed_evaluation_accepts_nothing() -> None:
    world = World({"base": gated(), "tuned": finetune("tuned", "base")})

    def end(world: World, name: str) -> None:
        if world.specs[name].task is TaskKind.EVALUATE:
            world.fail(name, FailureClass.COMMAND)
        else:
            world.succeed(name)

    world.settle(end)
    assert world.phases() == {"base": Phase.FAILED, "tuned": Phase.WAITING}
    assert record(world).artifact is None
    assert ("tuned", "train") not in world.made()


def test_require_alone_judges_the_artifact_s_own_metrics() -> None:
    text = GATED % {"epochs": 1, "evaluation": 'require: ["loss < 1"]', "annotations": ""}
    world = World({"base": text, "tuned": finetune("tuned", "base")})

    def end(world: World, name: str) -> None:
        world.succeed(name)
        run = world.runs[name]
        assert run.result is not None
        world.runs[name] = replace(run, result=replace(run.result, metrics={"loss": 2}))

    world.settle(end)
    assert world.phases() == {"base": Phase.REJECTED, "tuned": Phase.WAITING}
    assert world.made() == [("base", "train"), ("build", "build")]


def test_an_artifact_from_before_the_gate_counts_as_accepted() -> None:
    world = World({"base": GATED.replace("  evaluation: {%(evaluation)s}\n", "") % {
        "epochs": 1, "annotations": "",
    }})  # fmt: skip
    world.settle()
    world.made()
    world.files["base"] = gated()
    settle(world, 0.1)
    assert world.made() == [("base", "evaluate")]
    assert world.phase("base") is Phase.READY


def test_a_plan_leaves_the_outcome_open_and_creates_what_depends_on_it() -> None:
    world = World({"base": gated(), "tuned": finetune("tuned", "base")})
    plan = world.plan()
    found = actions(plan)
    assert found["base", "evaluate"] == found["tuned", "train"] == "create"
    evaluation = world.keys()["base", TaskKind.EVALUATE]
    (tuned,) = (d for d in plan.decisions if d.ref == model("tuned"))
    assert evaluation in tuned.needs


def test_an_evaluation_reads_the_artifact_and_writes_beside_it() -> None:
    world = World({"base": gated()})
    settle(world, 0.95)
    (spec,) = (s for s in world.created if s.task is TaskKind.EVALUATE)
    (trained,) = (s for s in world.created if s.task is TaskKind.TRAIN)
    assert spec.artifact is not None
    assert (spec.artifact.key, spec.artifact.url) == (trained.key, trained.output)
    assert (
        spec.output
        == f"file:///buckets/clusters/local/namespaces/default/models/base/evaluations/{spec.key}/"
    )
    assert "-e-" in spec.name


def test_an_evaluation_waits_for_its_dataset() -> None:
    text = gated().replace("command: [", "dataset: {name: held-out}, command: [")
    world = World({"base": text, "held-out": HELD_OUT, "scratch": scratch("other")})
    settle(world, 0.95)
    (spec,) = (s for s in world.created if s.task is TaskKind.EVALUATE)
    assert spec.dataset is not None
    assert spec.dataset.url == "s3://b/h"
    assert world.phase("base") is Phase.READY


def test_the_metrics_of_an_accepted_artifact_are_those_of_its_evaluation() -> None:
    world = World({"base": gated()})
    settle(world, 0.95)
    artifact = record(world).artifact
    assert artifact is not None
    assert artifact.metrics == {"accuracy": 0.95}


def test_a_verdict_is_counted_once() -> None:
    world = World({"base": gated()})
    settle(world, 0.8)
    rejected = record(world)
    assert list(new_verdicts(None, rejected)) == [Verdict.REJECTED]
    assert list(new_verdicts(rejected, rejected)) == []
    world.files["base"] = gated(require="accuracy >= 0.7")
    settle(world, 0.8)
    assert list(new_verdicts(rejected, record(world))) == [Verdict.ACCEPTED]


def test_why_names_the_lines_that_failed() -> None:
    world = World({"base": gated()})
    settle(world, 0.8)
    lines = [line for _, line in why_lines(world.plan(), model("base"))]
    assert "accuracy >= 0.9 (found 0.8)" in lines


def test_a_restart_forgets_no_verdict() -> None:
    world = World({"base": gated(), "tuned": finetune("tuned", "base")})
    settle(world, 0.8)
    world.files["base"] = gated(accept=desired_key(world))
    settle(world, 0.8)
    world.files["base"] = gated()
    world.made()
    restart(world)
    settle(world, 0.8)
    assert world.phases() == {"base": Phase.READY, "tuned": Phase.READY}
    assert world.made() == []


def test_two_evaluations_of_an_object_do_not_supersede_each_other() -> None:
    compared = "accuracy >= current.accuracy"
    world = World({"base": gated(require=compared)})
    settle(world, 0.9)
    world.files["base"] = gated(epochs=2, test=2, require=compared)
    world.sync()
    world.succeed(world.run_of("base", TaskKind.TRAIN))
    world.sync()
    both = [name for name in world.live() if world.specs[name].task is TaskKind.EVALUATE]
    assert len(both) == 2
    plan = world.sync()
    assert not plan.endings
    assert world.live() == both


def test_what_was_once_accepted_is_accepted_when_it_comes_back() -> None:
    world = worlds(0.95)
    world.files["base"] = gated(epochs=2)
    settle(world, 0.97)
    world.made()
    world.files["base"] = gated(require="accuracy >= 0.99")
    settle(world, 0.97)
    assert world.phases() == {"base": Phase.READY, "tuned": Phase.READY}
    assert world.made() == []
