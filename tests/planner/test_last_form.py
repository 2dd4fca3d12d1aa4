"""Runs whose manifest a daemon cannot know: it is wrong now, and its last form is not recorded."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from reconciler.engine import Run
from reconciler.manifests import Collection, collect, read_file
from reconciler.planner.object_status import ObjectStatus
from reconciler.planner.plan import Plan
from reconciler.types import ObjectRef, TaskKind
from tests.planner.histories import changed, settled
from tests.planner.world import World, finetune, scratch

WRONG = scratch("a").replace("mode: Scratch", "mode: Scrtach")


@dataclass
class NextDaemon(World):
    """A daemon after one that ended before its last push; ``a`` is wrong, and was ``last``."""

    last: str = ""

    def collect(self) -> Collection:
        found = super().collect()
        recorded = collect([read_file("a.yaml", self.last.encode())])
        return replace(found, objects=recorded.objects | found.objects)


def next_daemon(world: World, last: str, records: dict[ObjectRef, ObjectStatus]) -> NextDaemon:
    """Let another take over, with these records, as the manifest of ``a`` is wrong."""
    found = NextDaemon({**world.files, "a.yaml": WRONG}, last=last)
    found.runs, found.specs, found.now = dict(world.runs), world.specs, world.now
    found.records = dict(records)
    for record in records.values():
        found.ledger.learn_record(record)
    return found


def ended(plan: Plan) -> list[str]:
    return [ending.run.name for ending in plan.endings]


def unrecorded_training(*, started: bool) -> tuple[NextDaemon, Run]:
    """A training that the daemon before has started, and has not recorded."""
    world = settled(a=scratch("a"), b=finetune("b", "a"))
    records = dict(world.records)
    world.files["a.yaml"] = changed("a")
    world.sync()
    name = world.run_of("a", TaskKind.TRAIN)
    if started:
        world.start(name)
    return next_daemon(world, scratch("a"), records), world.runs[name]


@pytest.mark.parametrize("started", [False, True])
def test_an_unrecorded_run_of_a_manifest_that_is_wrong_now_goes_on(started: bool) -> None:
    world, run = unrecorded_training(started=started)
    for _ in range(2):
        assert run.name not in ended(world.sync())
    world.files["a.yaml"] = changed("a")
    assert run.name not in ended(world.sync()), "it is what the mended manifest asks for"


def test_an_unrecorded_run_ends_once_its_manifest_is_known_to_ask_for_another() -> None:
    world, run = unrecorded_training(started=True)
    world.sync()
    world.files["a.yaml"] = world.last
    assert ended(world.sync()) == [run.name]


def test_an_unrecorded_run_that_was_made_from_such_an_object_goes_on() -> None:
    world = settled(a=scratch("a"), b=finetune("b", "a"))
    records = dict(world.records)
    world.files["a.yaml"] = changed("a")
    world.sync()
    world.succeed(world.run_of("a", TaskKind.TRAIN))
    world.sync()
    name = world.run_of("b", TaskKind.TRAIN)
    world.start(name)
    after = next_daemon(world, scratch("a"), records)
    for _ in range(2):
        assert name not in ended(after.sync())


def test_a_recorded_run_is_superseded_though_another_manifest_is_wrong() -> None:
    world = settled(a=scratch("a"), other=scratch("other"))
    world.files["other.yaml"] = changed("other")
    world.sync()
    name = world.run_of("other", TaskKind.TRAIN)
    world.start(name)
    world.sync()
    after = next_daemon(world, scratch("a"), world.records)
    after.files["other.yaml"] = changed("other", 9)
    assert name in ended(after.sync())


def test_a_run_that_waits_is_not_replaced_for_settings_that_may_be_old() -> None:
    world = settled(a=scratch("a"), b=finetune("b", "a"))
    world.files["a.yaml"] = changed("a")
    world.sync()
    name = world.run_of("a", TaskKind.TRAIN)
    before = scratch("a", ", timeout: 9m").replace("epochs: 3", "epochs: 5")
    after = next_daemon(world, before, world.records)
    for _ in range(2):
        assert ended(after.sync()) == []
    after.files["a.yaml"] = before
    assert ended(after.sync()) == [name]


def test_an_unrecorded_build_of_a_manifest_that_is_wrong_now_goes_on() -> None:
    world = settled(a=scratch("a"))
    records = dict(world.records)
    world.files["a.yaml"] = changed("a").replace("src/a", "src/other")
    world.sync()
    name = world.run_of("a", TaskKind.BUILD)
    after = next_daemon(world, scratch("a"), records)
    for _ in range(2):
        assert name not in ended(after.sync())


def test_an_unrecorded_run_of_what_is_made_from_no_wrong_manifest_is_superseded() -> None:
    """One tenant's broken file holds no GPU of another's."""
    world = settled(a=scratch("a"), other=scratch("other"))
    records = dict(world.records)
    world.files["other.yaml"] = changed("other")
    world.sync()
    name = world.run_of("other", TaskKind.TRAIN)
    world.start(name)
    after = next_daemon(world, scratch("a"), records)
    after.files["other.yaml"] = changed("other", 9)
    assert name in ended(after.sync())
