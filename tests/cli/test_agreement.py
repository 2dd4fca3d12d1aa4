"""Every face of the product says the same of an object: status, README, page, why and plan."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from io import StringIO

import pytest
from rich.console import Console

from reconciler.cli.recorded_runs import recorded_reasons, recorded_runs
from reconciler.cli.recorded_state import RecordedState
from reconciler.cli.table import object_table
from reconciler.cli.why import explained
from reconciler.engine import Capacity, FailureClass
from reconciler.planner import (
    Phase,
    Phases,
    Plan,
    Prices,
    make_plan,
    status_path,
    statuses_after,
)
from reconciler.reasons import Reason
from reconciler.review import review
from reconciler.review.text import render_text
from reconciler.status import Readme, Shards, Sync, dump_record
from reconciler.types import ObjectRef, TaskKind
from reconciler.web.history import Order
from reconciler.web.render import Frame, object_page
from reconciler.web.snapshot import Catalog
from tests.planner.histories import changed, training
from tests.planner.world import World, finetune, model, scratch

PROMOTED = (
    "kind: Model\nmetadata: {name: p}\nspec: {source: {model: {name: c}}, load: {command: []}}\n"
)
IMAGE = (
    "kind: Model\nmetadata: {name: i}\n"
    f"spec: {{source: {{image: {{ref: 'r/i@sha256:{'a' * 64}'}}}}, load: {{command: [x]}}}}\n"
)
GPUS = ", resources: {gpu: {type: nvidia-l4, count: 4}}"


def chain() -> World:
    world = World({"a.yaml": scratch("a"), "b.yaml": finetune("b", "a")})
    world.files |= {"c.yaml": finetune("c", "b"), "p.yaml": PROMOTED}
    return world


def settled() -> World:
    world = chain()
    world.settle()
    return world


def building() -> World:
    world = chain()
    world.sync()
    world.start(world.run_of("a", TaskKind.BUILD))
    return world


def trained_again() -> World:
    """The base is trained anew, while production serves what it has."""
    world = settled()
    world.files["a.yaml"] = changed("a")
    world.sync()
    world.start(world.run_of("a", TaskKind.TRAIN))
    return world


def promoted_anew() -> World:
    """Production is to serve another model, which is not made yet."""
    world = settled()
    world.files |= {"n.yaml": scratch("n"), "p.yaml": PROMOTED.replace("name: c", "name: n")}
    return world


def promoted_from_a_source_that_is_away() -> World:
    world = settled()
    world.files["n.yaml"] = scratch("n")
    world.files["p.yaml"] = PROMOTED.replace("name: c", "name: n")
    world.trees[".//src/n"] = "unreachable"
    return world


def unschedulable() -> World:
    world = chain()
    run = training(world, "a")
    reason = Reason.read("Unschedulable", "no node has 4 of nvidia.com/gpu")
    world.runs[run] = replace(world.runs[run], reason=reason)
    return world


def node_lost() -> World:
    world = chain()
    run = training(world, "a")
    world.start(run)
    reason = Reason.read("NodeUnreachable", "node n1 has not reported for 40s")
    world.runs[run] = replace(world.runs[run], reason=reason, lost=True)
    return world


def retried_by_its_engine() -> World:
    world = chain()
    run = training(world, "a")
    world.start(run)
    reason = Reason.read("RetryingAttempt", "attempt 1 failed; it is tried again")
    world.runs[run] = replace(world.runs[run], reason=reason)
    return world


def failed() -> World:
    world = chain()
    world.settle(lambda w, n: w.fail(n) if "-a-" in n else w.succeed(n))
    return world


def evicted() -> World:
    world = chain()
    world.fail(training(world, "a"), FailureClass.INFRASTRUCTURE)
    return world


def secret_missing() -> World:
    world = chain()
    run = training(world, "a")
    world.fail(run, FailureClass.UNAVAILABLE)
    reason = Reason.read("SecretMissing", "there is no Secret hf in default")
    world.runs[run] = replace(world.runs[run], reason=reason)
    return world


def too_few_gpus() -> World:
    world = chain()
    world.files["a.yaml"] = scratch("a", GPUS)
    world.capacity = Capacity(containers=True, gpus=2)
    training_of = world.sync
    training_of()
    world.succeed(world.run_of("a", TaskKind.BUILD))
    return world


def no_containers() -> World:
    return World({"i.yaml": IMAGE}, capacity=Capacity(containers=False))


def image_refused() -> World:
    world = World({"i.yaml": IMAGE})
    world.settings = replace(world.settings, allow_images=("other/*",))
    return world


def suspended() -> World:
    world = chain()
    world.files["a.yaml"] = scratch("a").replace("spec:\n", "spec:\n  suspend: true\n")
    return world


def held() -> World:
    world = settled()
    world.settings = replace(world.settings, guard_tasks=1)
    world.files["a.yaml"] = changed("a")
    return world


def prune_held() -> World:
    world = settled()
    world.files.clear()
    return world


def prune_disabled() -> World:
    world = settled()
    world.settings = replace(world.settings, prune=False)
    del world.files["p.yaml"]
    return world


def invalid() -> World:
    world = chain()
    world.files["a.yaml"] = scratch("a", ", timeout: soon")
    return world


def source_away() -> World:
    world = chain()
    world.trees[".//src/a"] = "unreachable"
    return world


def run_limit() -> World:
    world = chain()
    world.files["z.yaml"] = scratch("z")
    world.settings = replace(world.settings, limit_runs=1)
    return world


def lost() -> World:
    world = settled()
    artifact = world.records[model("a")].artifact
    assert artifact is not None
    world.ledger.lose(artifact.key, world.now)
    world.now += timedelta(seconds=1)
    return world


def superseded() -> World:
    world = chain()
    world.start(training(world, "a"))
    world.files["a.yaml"] = changed("a")
    return world


def source_moved(more: str = "") -> World:
    """A training of a followed source goes on while that moves."""
    followed = scratch("a", more).replace("url: .,", "url: 'https://x.test/a', update: Follow,")
    world = World({"a.yaml": followed})
    world.start(training(world, "a"))
    world.sync()
    world.trees["https://x.test/a//src/a"] = "moved"
    return world


def source_moved_beyond_the_budget() -> World:
    world = source_moved(", resources: {gpu: {count: 1}}")
    world.settings = replace(world.settings, prices=Prices(gpus={"any": 1.0}), budget_month=0.5)
    world.now += timedelta(hours=1)
    world.sync()
    return world


def node_lost_and_how_changed() -> World:
    world = node_lost()
    world.files["a.yaml"] = scratch("a", ", timeout: 10m")
    return world


def how_changed() -> World:
    world = chain()
    world.start(training(world, "a"))
    world.files["a.yaml"] = scratch("a", ", timeout: 10m")
    return world


def shared_build() -> World:
    world = World(
        {name: scratch(name[0]).replace("src/b", "src/a") for name in ("a.yaml", "b.yaml")}
    )
    world.sync()
    world.start(world.run_of("a", TaskKind.BUILD))
    return world


def dangling() -> World:
    return World({"b.yaml": finetune("b", "nobody")})


STATES: Mapping[str, Callable[[], World]] = {
    each.__name__: each
    for each in (
        chain, building, settled, trained_again, promoted_anew,
        promoted_from_a_source_that_is_away, unschedulable, node_lost, retried_by_its_engine,
        failed, evicted, secret_missing, too_few_gpus, no_containers, image_refused, suspended,
        held, prune_held, prune_disabled, invalid, source_away, run_limit, lost, superseded,
        source_moved, source_moved_beyond_the_budget, node_lost_and_how_changed, how_changed,
        shared_build, dangling,
    )
}  # fmt: skip


def recorded(world: World) -> RecordedState:
    """What a clone reads of the status files."""
    state = RecordedState()
    files = ((status_path(ref), dump_record(record)) for ref, record in world.records.items())
    state.learn(files, None)
    assert not state.faults
    return state


def planned_in_a_clone(world: World, state: RecordedState) -> Plan:
    """The plan of the same commit, by what the status files say and no engine."""
    world.ledger = state.ledger
    inputs = replace(
        world.inputs(),
        records=state.records,
        runs=recorded_runs(state),
        reported=recorded_reasons(state),
        capacity=Capacity(containers=True),
    )
    return make_plan(inputs)


def faces(world: World, ref: ObjectRef) -> dict[str, str]:
    """The text of each face about one object, on one line."""
    plan, records = world.plan(), dict(world.records)
    state = recorded(world)
    record = state.records[ref]
    table = StringIO()
    Console(width=10_000, file=table).print(object_table([record]))
    sync = Sync(cluster="c", instance="i", path="", head=world.head, observed=world.now)
    readme = Readme(Shards()).render(sync, {ref: record}, Phases([record])).decode()
    catalog = Catalog(plan, records, ())
    page = object_page(Frame(cluster="c"), catalog, records[ref], order=Order(), log=None)
    there = planned_in_a_clone(world, state)
    why = "\n".join(line for _, line in explained(there, ref, record))
    told = render_text(review(there, before=there, errors=()), everything=True)
    return {
        "status": table.getvalue(),
        "README": readme.replace("\\", ""),
        "page": html.unescape(page),
        "why": why,
        "plan": told,
    }


@pytest.mark.parametrize("state", STATES)
def test_a_plan_of_the_status_files_has_the_phases_and_reasons_of_the_daemon(state: str) -> None:
    world = STATES[state]()
    world.sync()
    known = {ref: (r.phase, r.message) for ref, r in world.records.items()}
    plan = planned_in_a_clone(world, recorded(world))
    assert {ref: (r.phase, r.message) for ref, r in statuses_after(plan).items()} == known
    daemon = {end.run.name for end in world.plan().endings if end.run.live}
    assert {end.run.name for end in plan.endings if end.run.live} == daemon


@pytest.mark.parametrize("state", STATES)
def test_all_faces_say_the_same_of_what_an_object_waits_for(state: str) -> None:
    world = STATES[state]()
    world.sync()
    for ref, record in world.records.items():
        if record.message and not record.complete:
            for face, said in faces(world, ref).items():
                assert record.phase.value in said, (face, ref)
                assert record.message[:100] in said, (face, ref, said)


@pytest.mark.parametrize("state", ["trained_again", "promoted_anew"])
def test_production_stays_ready_with_what_it_serves_and_what_it_waits_for(state: str) -> None:
    world = STATES[state]()
    before = world.records[model("p")].artifact
    world.sync()
    record = world.records[model("p")]
    target = "n" if state == "promoted_anew" else "c"
    assert before is not None
    assert (record.phase, record.reason, record.artifact) == (Phase.READY, "StillServing", before)
    waits = f"still serves {before.key[:12]}: waiting for the artifact of Model default/{target}"
    assert record.message == waits
    for face, said in faces(world, record.ref).items():
        assert waits in said, (face, said)
    world.settle()
    record = world.records[model("p")]
    assert record.complete
    assert record.artifact is not None
    assert record.artifact.key != before.key


def test_a_promotion_without_an_artifact_waits() -> None:
    world = chain()
    world.sync()
    assert world.phase("p") is Phase.WAITING
    assert world.records[model("p")].message == "waiting for the artifact of Model default/c"
