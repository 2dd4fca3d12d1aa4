"""A Model with a matrix: a training per combination, of which the best is its artifact."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.engine import FailureClass, RunPhase
from reconciler.engines.kubernetes.job import render
from reconciler.planner.losses import artifacts_in_use
from reconciler.planner.object_status import Verdict
from reconciler.planner.phases import Phase, TaskPhase
from reconciler.planner.plan import ActionKind
from reconciler.reasons import ReasonCode
from reconciler.types import JSON, TaskKey, TaskKind
from tests.engines.kubernetes.specs import settings_of
from tests.planner.world import World, finetune, model, scratch

BEST = "best: {metric: accuracy, goal: maximize}"


def sweep(rates: str = "[1, 2]", more: str = BEST, rest: str = "") -> str:
    """A Model whose trainings differ in their learning rate."""
    return scratch("m", f", matrix: {{params: {{lr: {rates}}}, {more}}}{rest}")


def plain(rate: int) -> str:
    return scratch("m").replace("epochs: 3", f"epochs: 3, lr: {rate}")


def end(world: World, name: str, metrics: dict[str, float] | None = None) -> None:
    """A run succeeds; its accuracy is its learning rate."""
    world.succeed(name)
    run, rate = world.runs[name], world.specs[name].params.get("lr", 0)
    assert run.result is not None
    assert isinstance(rate, int)
    found = {"accuracy": float(rate)} if metrics is None else metrics
    world.runs[name] = replace(run, result=replace(run.result, metrics=found))


def rates(world: World) -> list[JSON]:
    """The learning rates of the trainings that were created since the last call."""
    found = [spec.params["lr"] for spec in world.created if spec.task is TaskKind.TRAIN]
    world.created.clear()
    return found


def run_with(world: World, rate: int) -> str:
    (name,) = (n for n in world.live() if world.specs[n].params.get("lr") == rate)
    return name


def key_of(world: World, rate: int) -> TaskKey:
    (found,) = (v for v in world.records[model("m")].variants if v.params == {"lr": rate})
    return found.key


def built(text: str, **more: str) -> World:
    """A world in which the image is built, and each training is about to start."""
    world = World({"m.yaml": text, **more})
    world.sync()
    world.succeed(world.run_of("m", TaskKind.BUILD))
    world.sync()
    return world


def test_each_combination_is_trained_in_a_run_of_its_own() -> None:
    world = built(sweep("[1, 2, 3]"))
    assert rates(world) == [1, 2, 3]
    assert len(set(world.live())) == 3
    assert all(world.specs[name].params["epochs"] == 3 for name in world.live())


def test_a_combination_has_the_key_of_a_plain_training_with_its_params() -> None:
    world = World({"m.yaml": sweep()})
    world.settle(end)
    found = {v.params["lr"]: v.key for v in world.records[model("m")].variants}
    for rate in (1, 2):
        alone = World({"m.yaml": plain(rate)})
        assert alone.desired()[0][model("m")].key == found[rate]


def test_an_artifact_of_a_plain_training_counts_as_a_variant() -> None:
    world = World({"m.yaml": plain(1)})
    world.settle(end)
    assert rates(world) == [1]
    world.files["m.yaml"] = sweep()
    world.settle(end)
    assert rates(world) == [2]
    assert world.phase("m") is Phase.READY


def test_a_new_value_trains_one_more_and_nothing_else() -> None:
    world = World({"m.yaml": sweep()})
    world.settle(end)
    rates(world)
    world.files["m.yaml"] = sweep("[1, 2, 3]")
    world.settle(end)
    assert rates(world) == [3]
    artifact = world.records[model("m")].artifact
    assert artifact is not None
    assert artifact.key == key_of(world, 3)


@pytest.mark.parametrize(("goal", "rate"), [("maximize", 2), ("minimize", 1)])
def test_the_best_variant_is_the_artifact(goal: str, rate: int) -> None:
    world = World({"m.yaml": sweep(more=f"best: {{metric: accuracy, goal: {goal}}}")})
    world.settle(end)
    record = world.records[model("m")]
    assert record.phase is Phase.READY
    assert record.artifact is not None
    assert record.artifact.key == record.desired == key_of(world, rate)
    assert record.artifact.metrics == {"accuracy": rate}
    assert [v.metrics["accuracy"] for v in record.variants] == [1, 2]


def test_of_equal_variants_the_least_key_is_best() -> None:
    world = World({"m.yaml": sweep("[1, 2, 3, 4, 5]")})
    world.settle(lambda world, name: end(world, name, {"accuracy": 0.5}))
    record = world.records[model("m")]
    assert record.desired == min(variant.key for variant in record.variants)


def test_a_variant_without_a_finite_metric_is_never_the_best() -> None:
    found = {1: {"accuracy": 0.1}, 2: {"loss": 9.0}, 3: {"accuracy": float("inf")}}

    def some(world: World, name: str) -> None:
        rate = world.specs[name].params.get("lr", 0)
        end(world, name, found.get(int(str(rate)), {}))

    world = World({"m.yaml": sweep("[1, 2, 3]")})
    world.settle(some)
    assert world.records[model("m")].desired == key_of(world, 1)


def test_without_the_metric_the_object_fails_and_says_so() -> None:
    world = World({"m.yaml": sweep()})
    world.settle(lambda world, name: end(world, name, {"loss": 1.0}))
    record = world.records[model("m")]
    assert (record.phase, record.artifact) == (Phase.FAILED, None)
    assert record.reason == ReasonCode.BEST_METRIC_MISSING
    assert "accuracy" in record.message


def test_while_variants_are_trained_their_number_is_told() -> None:
    world = built(sweep())
    world.start(run_with(world, 1))
    world.sync()
    record = world.records[model("m")]
    assert (record.phase, record.reason) == (Phase.TRAINING, ReasonCode.VARIANTS_INCOMPLETE)
    assert record.message == "0 of 2 variants complete, 0 failed"
    assert [v.phase for v in record.variants] == [TaskPhase.RUNNING, TaskPhase.PENDING]


def test_a_failed_variant_is_told_and_the_others_count() -> None:
    world = built(sweep("[1, 2, 3]"))
    world.fail(run_with(world, 3))
    world.sync()
    assert world.phase("m") is Phase.PENDING
    world.settle(end)
    record = world.records[model("m")]
    assert (record.phase, record.desired) == (Phase.READY, key_of(world, 2))
    (told,) = (c for c in record.conditions if c.type == "VariantsFailed")
    assert told.message == "1 of 3 variants failed; the first: the command exited with 1"
    assert [v.phase for v in record.variants][2] is TaskPhase.FAILED
    assert record.variants[2].message == "the command exited with 1"


def test_a_sweep_fails_where_each_variant_has() -> None:
    world = built(sweep(), **{"next.yaml": finetune("next", "m")})
    for name in world.live():
        world.fail(name)
    world.settle()
    record = world.records[model("m")]
    assert (record.phase, record.reason) == (Phase.FAILED, ReasonCode.ALL_VARIANTS_FAILED)
    assert world.phase("next") is Phase.WAITING
    assert "all 2 variants failed" in world.records[model("next")].message


def test_a_failed_variant_is_retried_alone() -> None:
    world = built(sweep())
    world.fail(run_with(world, 2))
    world.settle(end)
    rates(world)
    world.files["m.yaml"] = sweep().replace(
        "{name: m}", "{name: m, annotations: {substratus.ai/retry: again}}"
    )
    world.settle(end)
    assert rates(world) == [2]
    record = world.records[model("m")]
    assert record.desired == key_of(world, 2)
    assert not [c for c in record.conditions if c.type == "VariantsFailed"]


def test_a_lost_node_is_no_end_of_a_variant() -> None:
    world = built(sweep())
    end(world, run_with(world, 1))
    world.fail(run_with(world, 2), FailureClass.INFRASTRUCTURE)
    world.sync()
    assert world.records[model("m")].desired is None
    world.now += timedelta(hours=1)
    world.settle(end)
    assert world.records[model("m")].desired == key_of(world, 2)


def test_a_dependent_is_trained_once_from_the_best() -> None:
    world = built(sweep(), **{"next.yaml": finetune("next", "m")})
    end(world, run_with(world, 1))
    world.sync()
    waiting = world.records[model("next")]
    assert (waiting.phase, waiting.reason) == (Phase.WAITING, ReasonCode.REFERENCE_BLOCKED)
    assert "1 of 2 variants complete" in waiting.message
    world.settle(end)
    assert world.made().count(("next", "train")) == 1
    assert world.phase("next") is Phase.READY
    world.files["m.yaml"] = sweep("[1, 2, 3]")
    world.sync()
    assert world.phase("next") is Phase.WAITING
    world.settle(end)
    assert world.made() == [("m", "train"), ("next", "train")]


def test_a_dependent_is_not_trained_again_where_the_best_stays() -> None:
    world = World({"m.yaml": sweep("[1, 9]"), "next.yaml": finetune("next", "m")})
    world.settle(end)
    world.made()
    world.files["m.yaml"] = sweep("[1, 9, 3]")
    world.settle(end)
    assert world.made() == [("m", "train")]
    assert world.phase("next") is Phase.READY


def test_without_best_it_is_ready_and_has_no_artifact() -> None:
    world = World({"m.yaml": sweep(more="include: [{lr: 7}]")})
    world.settle(end)
    record = world.records[model("m")]
    assert (record.phase, record.artifact, record.desired) == (Phase.READY, None, None)
    assert record.complete
    assert [v.params["lr"] for v in record.variants] == [1, 2, 7]
    world.sync()
    assert world.plan().decided == {}, "it is looked at again, although nothing changes"


def test_without_best_nothing_can_be_made_from_it() -> None:
    more = finetune("next", "m")
    world = World({"m.yaml": sweep(more="include: [{lr: 7}]"), "next.yaml": more})
    world.settle(end)
    record = world.records[model("next")]
    assert record.phase is Phase.INVALID
    assert "add its training.matrix.best" in record.message
    key = key_of(world, 7)
    world.files["next.yaml"] = more.replace("{name: m}", f"{{name: m, key: {key}}}")
    world.settle(end)
    assert world.phase("next") is Phase.READY


def test_a_dependent_of_a_sweep_that_loses_its_best_is_told() -> None:
    world = World({"m.yaml": sweep(), "next.yaml": finetune("next", "m")})
    world.settle(end)
    world.made()
    world.files["m.yaml"] = sweep(more="include: [{lr: 2.5}]")
    world.settle(lambda world, name: world.succeed(name))
    assert world.phase("next") is Phase.INVALID
    assert world.made() == [("m", "train")]


def test_a_dropped_combination_is_cancelled_and_the_others_go_on() -> None:
    world = built(sweep("[1, 2, 3]"))
    for name in world.live():
        world.start(name)
    dropped = run_with(world, 2)
    world.sync()
    world.files["m.yaml"] = sweep("[1, 3]")
    plan = world.sync()
    assert [(e.run.name, e.action) for e in plan.endings] == [(dropped, ActionKind.CANCEL)]
    assert len(world.live()) == 2
    assert rates(world) == [1, 2, 3]


def test_a_followed_source_that_moves_supersedes_each_variant_by_its_own() -> None:
    follows = sweep().replace(
        "{url: ., path: src/m}", "{url: 'https://example.com/m', branch: main, update: Follow}"
    )
    world = built(follows)
    for name in world.live():
        world.start(name)
    world.sync()
    rates(world)
    world.trees["https://example.com/m//"] = "moved"
    plan = world.sync()
    assert not plan.endings, "what has started goes on to its end"
    end(world, run_with(world, 1))
    world.settle(end)
    assert sorted(map(str, rates(world))) == ["1", "2"]
    assert world.phase("m") is Phase.READY


def test_each_variant_is_a_job_of_its_own(tmp_path: Path) -> None:
    world = built(sweep("[1, 2, 3]"))
    bucket = {"url": "s3://models", "driver": "mountpoint-s3"}
    settings, jobs = settings_of(tmp_path, buckets={"default": bucket}), {}
    for name in world.live():
        spec, rate = world.specs[name], world.specs[name].params["lr"]
        image = f"registry.example.com/m@sha256:{'0' * 64}"
        output = f"s3://models/{spec.key}/"
        jobs[rate], *_ = render(replace(spec, image=image, output=output), settings)
    assert len({job["metadata"]["name"] for job in jobs.values()}) == 3
    for rate, job in jobs.items():
        assert f'"lr":{rate}' in str(job["spec"]["template"])


def test_limits_apply_to_variants() -> None:
    world = World({"m.yaml": sweep("[1, 2, 3]")})
    world.settings = replace(world.settings, limit_runs=2)
    world.sync()
    world.succeed(world.run_of("m", TaskKind.BUILD))
    world.sync()
    assert rates(world) == [1, 2]
    world.sync()
    assert world.records[model("m")].variants[2].reason == ReasonCode.RUN_LIMIT_REACHED
    world.settle(end)
    assert rates(world) == [3]


def test_a_guard_holds_a_sweep_that_is_made_again() -> None:
    world = World({"m.yaml": sweep("[1, 2, 3]", more="include: [{lr: 7}]")})
    world.settings = replace(world.settings, guard_tasks=3)
    world.settle(end)
    world.files["m.yaml"] = world.files["m.yaml"].replace("epochs: 3", "epochs: 4")
    plan = world.sync()
    (hold,) = plan.holds
    assert hold.tasks == 4
    assert world.phase("m") is Phase.HELD
    world.released = frozenset({hold.id})
    world.settle(end)
    assert world.phase("m") is Phase.READY


def test_a_suspended_sweep_starts_no_variant() -> None:
    world = built(sweep())
    end(world, run_with(world, 1))
    world.sync()
    text = sweep("[1, 2, 3]").replace("spec:\n", "spec:\n  suspend: true\n")
    world.files["m.yaml"] = text
    world.settle(end)
    assert rates(world) == [1, 2], "what ran went on"
    assert world.phase("m") is Phase.SUSPENDED
    world.files["m.yaml"] = sweep("[1, 2, 3]")
    world.settle(end)
    assert rates(world) == [3]


def test_the_gate_of_a_sweep_is_for_its_best() -> None:
    text = sweep() + "  evaluation: {command: [test.sh], require: ['score > 1']}\n"
    scores: dict[TaskKind, dict[str, float]] = {TaskKind.EVALUATE: {"score": 0.0}}

    def tested(world: World, name: str) -> None:
        end(world, name, scores.get(world.specs[name].task))

    world = World({"m.yaml": text, "next.yaml": finetune("next", "m")})
    world.settle(tested)
    record = world.records[model("m")]
    assert [spec.task for spec in world.created].count(TaskKind.EVALUATE) == 1
    assert (record.phase, record.artifact) == (Phase.REJECTED, None)
    assert record.candidate is not None
    assert record.candidate.key == key_of(world, 2)
    assert world.phase("next") is Phase.WAITING
    verdicts = {e.key: e.verdict for e in record.history if e.task is TaskKind.TRAIN}
    assert verdicts == {key_of(world, 1): Verdict.PENDING, key_of(world, 2): Verdict.REJECTED}
    # One that was never tested is no way around the gate.
    world.files["next.yaml"] = finetune("next", "m").replace(
        "{name: m}", f"{{name: m, key: {key_of(world, 1)}}}"
    )
    world.settle(tested)
    assert world.records[model("next")].reason == ReasonCode.BASE_NOT_ACCEPTED
    world.files["m.yaml"] = text.replace("maximize", "minimize")
    world.settle(tested)
    assert world.phase("m") is Phase.REJECTED


def test_a_lost_variant_is_made_again() -> None:
    world = World({"m.yaml": sweep()})
    world.settle(end)
    rates(world)
    assert len(artifacts_in_use(world.plan(), all_current=True)) == 2
    world.ledger.lose(key_of(world, 1), world.now)
    world.settle(end)
    assert rates(world) == [1]
    assert world.records[model("m")].desired == key_of(world, 2)


def test_a_restart_remembers_each_variant() -> None:
    world = built(sweep("[1, 2, 3]"))
    world.fail(run_with(world, 3))
    world.settle(end)
    rates(world)
    again = World(dict(world.files), records=dict(world.records), now=world.now)
    for record in again.records.values():
        again.ledger.learn_record(record)
    again.settle(end)
    assert rates(again) == []
    assert again.records == world.records


def test_variants_that_share_a_run_of_a_plain_training_go_on_with_it() -> None:
    world = built(plain(2))
    (name,) = world.live()
    world.start(name)
    world.sync()
    world.files["m.yaml"] = sweep()
    plan = world.sync()
    assert not plan.endings
    assert world.runs[name].phase is RunPhase.RUNNING
    assert rates(world) == [2, 1]
