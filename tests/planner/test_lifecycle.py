"""What runs, in which order, and what does not run again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from reconciler.engine import FailureClass, RunPhase
from reconciler.planner.ledger import Ledger
from reconciler.planner.phases import Phase, TaskPhase
from reconciler.planner.plan import ActionKind
from reconciler.planner.run_spec import wanted_results
from reconciler.types import TaskKind
from tests.planner.histories import annotated, changed, restart, settled, training
from tests.planner.world import World, actions, finetune, model, scratch

LOADED = """\
kind: Model
metadata: {name: a}
spec:
  source: {git: {url: ., path: src}}
"""
FINETUNED_OWN = LOADED + "  training: {}\n"
GIVEN = LOADED + "  load: {from: {url: s3://team/weights, revision: a}}\n  training: {}\n"
IMAGE = """\
kind: Model
metadata: {name: a}
spec:
  source: {image: {ref: "registry/a@sha256:%s"}}
""" % ("0" * 64)
DATASET = """\
kind: Dataset
metadata: {name: d}
spec: {source: {git: {url: ., path: data}}}
"""
BUCKET_DATASET = """\
kind: Dataset
metadata: {name: d}
spec: {source: {bucket: {url: "s3://data/d", revision: "1"}}}
"""


@pytest.mark.parametrize(
    ("manifest", "tasks"),
    [
        (LOADED, ["build", "load"]),
        (FINETUNED_OWN, ["build", "load", "train"]),
        (scratch("a"), ["build", "train"]),
        (GIVEN, ["build", "train"]),
        (IMAGE, ["load"]),
        (IMAGE + "  training: {}\n", ["load", "train"]),
        (IMAGE + "  training: {mode: Scratch}\n", ["train"]),
        (DATASET, ["build", "load"]),
        (BUCKET_DATASET, []),
    ],
)
def test_the_shape_of_a_manifest_decides_what_runs(manifest: str, tasks: list[str]) -> None:
    world = World({"a.yaml": manifest})
    world.settle()
    assert sorted(task for _, task in world.made()) == sorted(tasks)
    assert set(world.phases().values()) == {Phase.READY}


@pytest.mark.parametrize(
    ("training", "load", "tasks"),
    [
        ("", "", ["load"]),
        ("  training: {}\n", "", ["train"]),
        ("  training: {mode: Scratch}\n", "", ["train"]),
        ("", "  load: {command: []}\n", []),
    ],
)
def test_a_model_from_a_model_needs_no_build(training: str, load: str, tasks: list[str]) -> None:
    world = settled(base=scratch("base"))
    world.files["b.yaml"] = (
        "kind: Model\nmetadata: {name: b}\nspec:\n  source: {model: {name: base}}\n"
        + load
        + training
    )
    world.settle()
    assert world.made() == [("b", task) for task in tasks]
    assert world.phase("b") is Phase.READY


def test_a_promoted_model_has_its_bases_artifact() -> None:
    promoted = (
        "kind: Model\nmetadata: {name: b}\nspec:\n"
        "  source: {model: {name: base}}\n  load: {command: []}\n"
    )
    world = settled(base=scratch("base"), b=promoted)
    assert world.records[model("b")].artifact == world.records[model("base")].artifact
    assert world.records[model("b")].image == world.records[model("base")].image


def test_a_plan_applied_to_its_own_result_is_empty() -> None:
    world = World({"a.yaml": scratch("a"), "b.yaml": finetune("b", "a")})
    plan = world.settle()
    assert {d.action for d in plan.decisions} == {ActionKind.KEEP}
    assert not plan.endings
    before = dict(world.records)
    world.sync()
    assert world.records == before


def test_a_reference_that_is_not_ready_makes_the_object_wait() -> None:
    world = World({"a.yaml": scratch("a"), "b.yaml": finetune("b", "a")})
    world.sync()
    assert world.phase("b") is Phase.WAITING
    assert "Model default/a" in world.records[model("b")].message
    assert world.made() == [("build", "build")]


def test_a_changed_param_retrains_that_model_and_what_depends_on_it() -> None:
    world = World(
        {
            "a.yaml": scratch("a"),
            "b.yaml": finetune("b", "a"),
            "c.yaml": finetune("c", "b"),
            "d.yaml": finetune("d", "a"),
        }
    )
    world.settle()
    world.made()
    world.files["b.yaml"] = finetune("b", "a").replace("epochs: 3", "epochs: 5")
    world.settle()
    assert world.made() == [("b", "train"), ("c", "train")]


def test_a_revert_runs_nothing_and_is_ready_at_the_old_key() -> None:
    world = World({"a.yaml": scratch("a"), "b.yaml": finetune("b", "a")})
    world.settle()
    before = {ref: record.artifact for ref, record in world.records.items()}
    keys = world.keys()
    world.files["a.yaml"] = changed("a")
    world.settle()
    world.made()
    world.files["a.yaml"] = scratch("a")
    world.settle()
    assert world.made() == []
    assert world.keys() == keys
    assert {ref: record.artifact for ref, record in world.records.items()} == before
    assert set(world.phases().values()) == {Phase.READY}


def test_the_last_artifact_stays_while_a_newer_one_is_made() -> None:
    world = World({"a.yaml": scratch("a")})
    world.settle()
    artifact = world.records[model("a")].artifact
    world.files["a.yaml"] = changed("a")
    world.sync()
    world.start(world.run_of("a", TaskKind.TRAIN))
    world.sync()
    record = world.records[model("a")]
    assert record.phase is Phase.TRAINING
    assert record.artifact == artifact


def test_a_build_is_shared_by_all_objects_of_a_namespace_that_need_it() -> None:
    shared = scratch("a"), scratch("b").replace("src/b", "src/a")
    world = World({"a.yaml": shared[0], "b.yaml": shared[1]})
    world.settle()
    assert world.made() == [("a", "train"), ("b", "train"), ("build", "build")]
    images = {record.image for record in world.records.values()}
    assert len(images) == 1


def test_changing_only_the_how_recomputes_nothing() -> None:
    world = settled(a=scratch("a"))
    world.files["a.yaml"] = scratch("a", ", timeout: 1h, resources: {cpu: 2}")
    world.settle()
    assert world.made() == []


def test_a_changed_how_replaces_a_run_that_has_not_started_and_no_other() -> None:
    world = World({"a.yaml": scratch("a"), "b.yaml": scratch("b")})
    world.sync()
    for name in world.live():
        world.succeed(name)
    world.sync()
    started = world.run_of("a", TaskKind.TRAIN)
    waiting = world.run_of("b", TaskKind.TRAIN)
    world.start(started)
    for name in "ab":
        world.files[f"{name}.yaml"] = scratch(name, ", timeout: 1h")
    world.sync()
    world.sync()
    assert world.run_of("a", TaskKind.TRAIN) == started
    assert world.run_of("b", TaskKind.TRAIN) != waiting


def test_a_run_superseded_by_its_manifest_is_cancelled() -> None:
    world = World({"a.yaml": scratch("a")})
    old = training(world, "a")
    world.start(old)
    world.files["a.yaml"] = changed("a")
    plan = world.sync()
    assert [(e.run.name, e.action) for e in plan.endings] == [(old, ActionKind.CANCEL)]
    assert not plan.creates(), "its successor waits until it is gone"
    world.sync()
    assert world.run_of("a", TaskKind.TRAIN) != old


FOLLOWING = """\
kind: Model
metadata: {name: a}
spec:
  source: {git: {url: https://example.com/s.git, update: Follow}}
  training: {mode: Scratch}
"""


def test_a_run_superseded_by_a_followed_source_finishes_first() -> None:
    world = settled(a=FOLLOWING, b=finetune("b", "a"))
    place = "https://example.com/s.git//"
    world.trees[place] = "second"
    old = training(world, "a")
    world.start(old)
    for newer in ("third", "fourth"):
        world.trees[place] = newer
        world.sync()
        for name in world.live():
            if name != old:
                world.succeed(name)
        plan = world.sync()
        assert old in world.live()
        assert actions(plan)["a", "train"] is ActionKind.KEEP
        record = world.records[model("a")]
        (task,) = (t for t in record.tasks if t.task is TaskKind.TRAIN)
        assert (record.phase, task.job) == (Phase.TRAINING, old), "what goes on is shown"
        assert task.run_key == world.runs[old].key != task.key
    world.succeed(old)
    world.settle()
    assert world.phases() == {"a": Phase.READY, "b": Phase.READY}
    assert world.records[model("a")].desired == world.keys()["a", TaskKind.TRAIN]


def test_a_run_that_has_not_started_is_replaced_when_its_source_moves() -> None:
    world = settled(a=FOLLOWING)
    place = "https://example.com/s.git//"
    world.trees[place] = "second"
    training(world, "a")
    world.trees[place] = "third"
    world.settle()
    assert world.phases() == {"a": Phase.READY}
    artifact = world.records[model("a")].artifact
    assert artifact is not None
    assert artifact.key == world.keys()["a", TaskKind.TRAIN]
    assert [e.key for e in world.records[model("a")].history].count(artifact.key) == 1


def test_a_run_that_is_replaced_while_it_trains_is_in_the_history_with_its_cost() -> None:
    manifest = scratch("a", ", resources: {gpu: {count: 2}}")
    world = World({"a.yaml": manifest})
    old = training(world, "a")
    world.start(old)
    world.now += timedelta(seconds=30)
    world.files["a.yaml"] = manifest.replace("epochs: 3", "epochs: 5")
    key = world.runs[old].key
    world.settle()
    (entry,) = (e for e in world.records[model("a")].history if e.key == key)
    assert entry.phase is TaskPhase.INTERRUPTED
    assert (entry.reason, entry.gpu_seconds) == ("Superseded", 60.0)
    assert entry.started is not None


def test_a_replaced_run_is_no_failure_of_a_restart_once_its_manifest_is_back() -> None:
    manifest = scratch("a")
    world = World({"a.yaml": manifest})
    world.start(training(world, "a"))
    world.files["a.yaml"] = manifest.replace("epochs: 3", "epochs: 5")
    world.settle()
    world.files["a.yaml"] = manifest
    restart(world)
    world.settle()
    assert world.phases() == {"a": Phase.READY}


def test_an_attempt_that_was_lost_is_in_the_history_and_no_failure_of_a_restart() -> None:
    world = World({"a.yaml": scratch("a")})
    run = training(world, "a")
    world.start(run)
    world.now += timedelta(seconds=30)
    world.fail(run, FailureClass.INFRASTRUCTURE)
    world.sync()
    (entry,) = (e for e in world.records[model("a")].history if e.task is TaskKind.TRAIN)
    assert (entry.phase, entry.reason) == (TaskPhase.INTERRUPTED, "CommandFailed")
    world.ledger, world.runs = Ledger(), {}
    for record in world.records.values():
        world.ledger.learn_record(record)
    world.now += timedelta(hours=1)
    world.settle()
    assert world.phase("a") is Phase.READY


def test_a_pinned_source_stays_where_it_was_and_says_that_it_moved() -> None:
    pinned = FOLLOWING.replace("update: Follow", "update: Pin")
    world = settled(a=pinned)
    world.trees["https://example.com/s.git//"] = "second"
    world.settle()
    assert world.made() == []
    assert "UpdateAvailable" in {c.type for c in world.records[model("a")].conditions}
    world.files["a.yaml"] = annotated(pinned, "update: now")
    world.settle()
    assert world.made() == [("a", "train"), ("build", "build")]
    assert "UpdateAvailable" not in {c.type for c in world.records[model("a")].conditions}


def test_a_source_that_cannot_be_read_makes_its_object_wait_and_no_other() -> None:
    world = World({"a.yaml": FOLLOWING, "b.yaml": scratch("b")})
    world.trees["https://example.com/s.git//"] = "unreachable"
    world.settle()
    assert world.phases() == {"a": Phase.WAITING, "b": Phase.READY}
    assert "connection refused" in world.records[model("a")].message


def test_a_suspended_object_starts_nothing_and_what_runs_goes_on() -> None:
    world = World({"a.yaml": scratch("a")})
    running = training(world, "a")
    world.start(running)
    world.files["a.yaml"] = scratch("a") + "  suspend: true\n"
    world.sync()
    assert running in world.live()
    world.succeed(running)
    world.settle()
    assert world.phase("a") is Phase.READY
    world.made()
    world.files["a.yaml"] = changed("a") + "  suspend: true\n"
    world.settle()
    assert world.made() == []
    assert world.phase("a") is Phase.SUSPENDED


def test_rerun_asks_for_the_same_inputs_once_more() -> None:
    world = settled(a=scratch("a"))
    world.files["a.yaml"] = scratch("a", ', rerun: "again"')
    world.settle()
    assert world.made() == [("a", "train")]


def test_a_renamed_object_keeps_its_artifact_with_formerly() -> None:
    world = settled(a=scratch("a"))
    renamed = scratch("b").replace("src/b", "src/a")
    world.files["a.yaml"] = annotated(renamed, "formerly: a")
    world.settle()
    assert world.made() == []
    assert world.phases() == {"b": Phase.READY}


def test_what_a_renamed_object_had_made_is_looked_for_under_both_names() -> None:
    world = World({"b.yaml": annotated(scratch("b"), "formerly: a")})
    wanted = wanted_results(world.plan().inputs)
    [former, own] = [item.url for item in wanted if item.task is TaskKind.TRAIN]
    assert former is not None
    assert "/models/a/" in former
    assert own == former.replace("/models/a/", "/models/b/")
    world.files["b.yaml"] = annotated(scratch("b"), "formerly: other/a")
    [alone] = [i for i in wanted_results(world.plan().inputs) if i.task is TaskKind.TRAIN]
    assert "/namespaces/default/models/b/" in str(alone.url), "nothing of another namespace is read"


def test_an_object_and_what_it_is_renamed_to_share_runs_while_both_are_there() -> None:
    world = settled(a=scratch("a"))
    world.files["a.yaml"] = changed("a", 4)
    world.files["b.yaml"] = annotated(changed("a", 4), "formerly: a").replace("name: a", "name: b")
    world.settle()
    assert world.made() == [("a", "train")], "one run of one key"
    assert world.phases() == {"a": "Ready", "b": "Ready"}
    assert world.records[model("a")].artifact == world.records[model("b")].artifact


def test_a_pinned_reference_stays_at_that_artifact() -> None:
    world = World({"a.yaml": scratch("a")})
    world.settle()
    key = world.records[model("a")].desired
    world.files["b.yaml"] = finetune("b", "a").replace("{name: a}}", f'{{name: a, key: "{key}"}}}}')
    world.settle()
    world.made()
    world.files["a.yaml"] = changed("a")
    world.settle()
    assert world.made() == [("a", "train")]
    assert world.phases() == {"a": Phase.READY, "b": Phase.READY}


def test_a_run_that_ended_without_telling_its_result_is_followed_by_one_that_does() -> None:
    world = World({"a.yaml": scratch("a")})
    name = training(world, "a")
    world.runs[name] = replace(world.runs[name], phase=RunPhase.SUCCEEDED, finished=world.now)
    assert [(ending.run.name, ending.action) for ending in world.sync().endings] == [
        (name, ActionKind.KEEP)
    ]
    assert world.sync().creates()
    world.settle()
    assert world.phase("a") is Phase.READY
    artifact = world.records[model("a")].artifact
    world.runs[name] = replace(world.runs[name], result=None)
    assert not world.sync().creates()
    assert world.records[model("a")].artifact == artifact, "what is recorded stays"
