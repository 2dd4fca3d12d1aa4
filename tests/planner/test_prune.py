"""What is removed when a manifest goes, and what never is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from reconciler.engine import RunPhase
from reconciler.planner.phases import Phase
from reconciler.planner.plan import ActionKind
from reconciler.reasons import ReasonCode
from reconciler.types import TaskKind
from tests.planner.histories import annotated, changed, settled
from tests.planner.world import World, finetune, model, scratch
from tests.specs import run_spec

OTHER = scratch("other")


def test_a_removed_manifest_cancels_and_removes_its_runs() -> None:
    world = settled(a=scratch("a"), other=OTHER)
    world.files["a.yaml"] = changed("a")
    world.sync()
    live = world.run_of("a", TaskKind.TRAIN)
    del world.files["a.yaml"]
    plan = world.sync()
    assert plan.removed == {model("a")}
    assert live in {e.run.name for e in plan.endings if e.action is ActionKind.DELETE}
    assert world.phases() == {"other": Phase.READY}
    assert all(run.object != model("a") for run in world.runs.values())


def test_a_manifest_that_does_not_parse_removes_nothing_at_all() -> None:
    world = settled(a=scratch("a"), other=OTHER)
    world.files = {"other.yaml": OTHER, "broken.yaml": "kind: [Model"}
    plan = world.sync()
    assert not plan.removed
    assert plan.kept[model("a")].code is ReasonCode.PRUNE_WITHHELD


def test_an_invalid_manifest_is_invalid_and_its_artifact_stays() -> None:
    world = settled(a=scratch("a"), b=finetune("b", "a"), other=OTHER)
    artifact = world.records[model("a")].artifact
    world.files["a.yaml"] = scratch("a").replace("mode: Scratch", "mode: Scrtach")
    plan = world.sync()
    assert not plan.endings
    assert world.phase("a") is Phase.INVALID
    assert "a.yaml:5" in world.records[model("a")].message
    assert world.records[model("a")].artifact == artifact
    assert world.phase("other") is Phase.READY


def test_an_annotation_protects_an_object() -> None:
    protected = annotated(scratch("a"), 'prune: "false"')
    world = settled(a=protected, other=OTHER)
    del world.files["a.yaml"]
    plan = world.sync()
    assert not plan.removed
    assert plan.kept[model("a")].code is ReasonCode.PRUNE_PROTECTED


def test_prune_can_be_disabled() -> None:
    world = World({"a.yaml": scratch("a"), "other.yaml": OTHER})
    world.settings = replace(world.settings, prune=False)
    world.settle()
    del world.files["a.yaml"]
    assert not world.sync().removed


def test_runs_of_an_object_nobody_remembers_are_removed() -> None:
    world = settled(other=OTHER)
    ghost = replace(run_spec("ghost").pending(), phase=RunPhase.RUNNING)
    world.runs[ghost.name] = ghost
    plan = world.sync()
    assert [e.action for e in plan.endings] == [ActionKind.DELETE]


def test_only_the_last_finished_runs_of_an_object_are_kept() -> None:
    world = World({"a.yaml": scratch("a")})
    world.settings = replace(world.settings, history_jobs=2)
    for epochs in range(5):
        world.files["a.yaml"] = changed("a", epochs)
        world.settle()
    trainings = [run for run in world.runs.values() if run.task is TaskKind.TRAIN]
    assert len(trainings) == 2


def test_the_run_of_an_artifact_that_was_collected_is_removed() -> None:
    """Its finished Job would say that it is there, once the status branch is lost."""
    world = World({"a.yaml": scratch("a")})
    world.settle()
    (old,) = (run for run in world.runs.values() if run.task is TaskKind.TRAIN)
    world.files["a.yaml"] = changed("a", 2)
    world.settle()
    assert old.name in world.runs
    world.ledger.hidden[old.key] = world.now
    world.settle()
    assert old.name in world.runs, "it may be brought back"
    world.ledger.collect(old.key, world.now)
    world.settle()
    (new,) = (run for run in world.runs.values() if run.task is TaskKind.TRAIN)
    assert new.key != old.key


def test_runs_that_ended_by_a_clock_ahead_are_not_kept_for_newer_ones() -> None:
    world = World({"a.yaml": scratch("a")})
    world.settings = replace(world.settings, history_jobs=2)
    world.now += timedelta(days=3650)
    for epochs in range(3):
        world.files["a.yaml"] = changed("a", epochs)
        world.settle()
    world.now -= timedelta(days=3650)
    for epochs in range(3, 6):
        world.files["a.yaml"] = changed("a", epochs)
        world.settle()
    trainings = [run for run in world.runs.values() if run.task is TaskKind.TRAIN]
    assert len(trainings) == 2
    assert all(run.finished is not None and run.finished <= world.now for run in trainings)


def test_a_build_that_nothing_needs_any_more_is_cancelled() -> None:
    world = World({"a.yaml": scratch("a"), "other.yaml": OTHER})
    world.sync()
    first = set(world.live())
    world.trees[".//src/a"] = "changed"
    plan = world.sync()
    assert [e.action for e in plan.endings] == [ActionKind.CANCEL]
    assert {e.run.name for e in plan.endings} < first


def test_a_held_removal_stays_held_however_many_objects_are_added() -> None:
    names = [f"m{n}" for n in range(9)]
    world = settled(**{name: scratch(name) for name in names})
    for name in names[:5]:
        del world.files[f"{name}.yaml"]
    world.files["new.yaml"] = scratch("new")
    gone = frozenset(model(name) for name in names[:5])
    (hold,) = world.plan().holds
    world.settle()
    world.files |= {f"more{n}.yaml": scratch(f"more{n}") for n in range(9)}
    world.settle()
    plan = world.plan()
    assert not plan.removed
    assert [(h.id, h.objects) for h in plan.holds] == [(hold.id, gone)]
    world.released = frozenset({hold.id})
    assert world.sync().removed == gone


def test_a_tree_that_was_empty_releases_nothing_by_one_manifest() -> None:
    world = settled(a=scratch("a"), b=scratch("b"))
    world.files.clear()
    world.settle()
    world.files["new.yaml"] = scratch("new")
    world.settle()
    assert {model("a"), model("b")} <= world.records.keys()
    world.files |= {"a.yaml": scratch("a"), "b.yaml": scratch("b")}
    world.settle()
    assert not world.plan().holds
