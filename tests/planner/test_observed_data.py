"""Datasets that observe a bucket: pinned, followed, and changed underneath."""

from __future__ import annotations

from reconciler.planner.object_status import Condition
from reconciler.planner.phases import Phase
from reconciler.planner.plan import ActionKind
from reconciler.review import explain
from reconciler.types import TaskKind
from tests.planner.world import World, actions, dataset, model

URL = "s3://data/squad"
OBSERVED = """\
kind: Dataset
metadata: {name: squad, annotations: {substratus.ai/update: "%s"}}
spec: {source: {bucket: {url: "s3://data/squad", update: %s}}}
"""
TRAINED = """\
kind: Model
metadata: {name: m}
spec:
  source: {git: {url: ., path: src/m}}
  training: {mode: Scratch, dataset: {name: squad}%s}
"""


def observing(mode: str, update: str = "") -> World:
    world = World({"data.yaml": OBSERVED % (update, mode), "m.yaml": TRAINED % ""})
    world.data[URL] = "monday"
    world.settle()
    assert world.phases() == {"squad": Phase.READY, "m": Phase.READY}
    world.made()
    return world


def conditions(world: World, name: str) -> dict[str, Condition]:
    found = {ref.name: record for ref, record in world.records.items()}[name]
    return {condition.type: condition for condition in found.conditions}


def test_a_followed_folder_trains_again_when_it_changes() -> None:
    world = observing("Follow")
    world.data[URL] = "tuesday"
    world.settle()
    assert world.made() == [("m", "train")]
    assert world.phase("m") is Phase.READY
    assert conditions(world, "m").keys() == {"Ready"}


def test_what_a_followed_folder_had_before_is_still_trained_on() -> None:
    world = observing("Follow")
    for day in ("tuesday", "monday"):
        world.data[URL] = day
        world.settle()
    assert world.made() == [("m", "train")], "monday's artifact is there"


def test_a_followed_change_lets_a_started_training_end() -> None:
    world = World({"data.yaml": OBSERVED % ("", "Follow"), "m.yaml": TRAINED % ""})
    world.data[URL] = "monday"
    world.sync()
    world.succeed(world.run_of("m", TaskKind.BUILD))
    world.sync()
    name = world.run_of("m", TaskKind.TRAIN)
    world.start(name)
    world.data[URL] = "tuesday"
    plan = world.sync()
    assert not plan.endings
    assert world.phase("m") is Phase.TRAINING


def test_a_pinned_folder_that_changes_is_told_and_changes_no_key() -> None:
    world = observing("Pin")
    before = world.keys()
    world.data[URL] = "tuesday"
    world.settle()
    assert world.made() == []
    assert world.keys() == before
    told = conditions(world, "squad")["UpdateAvailable"]
    assert told.reason == "NewerData"
    assert "(1 file, 10 bytes)" in told.message
    assert "ReferenceUnavailable" not in conditions(world, "squad")


def test_a_model_of_data_that_changed_underneath_says_so() -> None:
    world = observing("Pin")
    world.data[URL] = "tuesday"
    world.settle()
    told = conditions(world, "m")["DataChanged"]
    assert (told.status, told.reason) == ("True", "DataChanged")
    assert URL in told.message
    assert "Dataset default/squad" in told.message
    world.data[URL] = "monday"
    world.settle()
    assert "DataChanged" not in conditions(world, "m")


def test_nothing_is_made_of_pinned_data_that_is_not_there_any_more() -> None:
    world = observing("Pin")
    world.data[URL] = "tuesday"
    world.files["m.yaml"] = TRAINED % ", params: {epochs: 9}"
    plan = world.settle()
    assert world.made() == []
    assert actions(plan)["m", "train"] is ActionKind.WAIT
    assert world.phase("m") is Phase.WAITING
    world.files["data.yaml"] = OBSERVED % ("take", "Pin")
    world.settle()
    assert world.made() == [("m", "train")]
    assert world.phase("m") is Phase.READY


def test_the_update_annotation_takes_what_is_there() -> None:
    world = observing("Pin")
    world.data[URL] = "tuesday"
    world.settle()
    world.files["data.yaml"] = OBSERVED % ("2026-11-29", "Pin")
    world.settle()
    assert world.made() == [("m", "train")]
    assert conditions(world, "squad").keys() == {"Ready"}


def test_a_pinned_folder_that_cannot_be_listed_is_as_recorded() -> None:
    world = observing("Pin")
    world.data[URL] = "unreachable"
    world.settle()
    assert world.phases() == {"squad": Phase.READY, "m": Phase.READY}


def test_a_followed_folder_that_cannot_be_listed_is_not_ready() -> None:
    world = observing("Follow")
    world.data[URL] = "unreachable"
    world.settle()
    assert world.phases() == {"squad": Phase.WAITING, "m": Phase.WAITING}
    assert world.records[dataset("squad")].tasks == (), "nothing would load it"
    assert world.records[dataset("squad")].artifact is not None
    assert world.records[dataset("squad")].source is not None, "what was recorded stays"
    world.data[URL] = "monday"
    world.settle()
    assert world.made() == []
    assert world.phase("m") is Phase.READY


def test_a_revision_is_looked_at_by_nobody() -> None:
    text = (
        "kind: Dataset\nmetadata: {name: squad}\n"
        'spec: {source: {bucket: {url: "%s", revision: %s}}}\n'
    )
    world = World({"data.yaml": text % (URL, "v1"), "m.yaml": TRAINED % ""})
    world.data[URL] = "unreachable"
    world.settle()
    assert world.phase("m") is Phase.READY
    world.made()
    world.files["data.yaml"] = text % (URL, "v2")
    world.settle()
    assert world.made() == [("m", "train")]


def test_a_review_says_which_folder_moved() -> None:
    world = observing("Follow")
    before, *_ = world.desired()
    world.data[URL] = "tuesday"
    after, *_ = world.desired()
    whys = explain(before, after)
    (move,) = whys[dataset("squad")].moves
    assert str(move).startswith(f"source {URL} moved: ")
    assert "squad changes" in whys[model("m")].because


def test_a_run_knows_which_listing_it_is_to_use() -> None:
    world = World({"data.yaml": OBSERVED % ("", "Pin"), "m.yaml": TRAINED % ""})
    world.settle()
    (spec,) = (spec for spec in world.created if spec.task is TaskKind.TRAIN)
    record = world.records[dataset("squad")].source
    assert spec.dataset is not None
    assert record is not None
    assert record.listing is not None
    assert spec.dataset.listing == record.listing.digest
