"""What a change itself does, held against what a sync would do anyway."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import click

from reconciler.planner.plan import ActionKind
from reconciler.planner.planner_config import PlannerConfig
from reconciler.reasons import Reason, ReasonCode
from reconciler.review.document import plan_document
from reconciler.review.markdown import render_markdown
from reconciler.review.report import Basis, ObjectReview, Review, review
from reconciler.review.sentences import rest, shown_gpus, summary, symbol, verb
from reconciler.review.text import render_text
from reconciler.types import TaskKind
from tests.planner.histories import changed, training
from tests.planner.world import World, dataset, finetune, model, scratch


def reviewed(world: World, **files: str) -> Review:
    """The review of a change of these files, by their names without a suffix."""
    before = world.plan()
    world.files |= {f"{name}.yaml": text for name, text in files.items()}
    return review(world.plan(), before=before, errors=())


def by_name(found: Review) -> dict[str, ObjectReview]:
    return {each.ref.name: each for each in found.objects}


def lines(found: Review, name: str) -> list[str]:
    actions = by_name(found)[name].actions
    return [f"{symbol(a)} {a.task} {verb(a, found.now)}" for a in actions]


def settled() -> World:
    world = World({"a.yaml": scratch("a"), "b.yaml": finetune("b", "a")})
    world.files |= {"c.yaml": finetune("c", "b"), "d.yaml": finetune("d", "c")}
    world.settle()
    return world


def test_the_chain_leads_to_where_the_change_began() -> None:
    found = reviewed(settled(), a=changed("a"))
    assert str(by_name(found)["a"].why) == "training.params.epochs: 3 → 5"
    assert str(by_name(found)["d"].why) == (
        "because Model default/c changes, due to Model default/b, due to Model default/a "
        "(training.params.epochs: 3 → 5)"
    )
    assert lines(found, "d") == ["~ train runs again, after Model default/c"]


def test_a_long_chain_is_told_by_its_ends() -> None:
    world = World({"m0.yaml": scratch("m0")})
    world.files |= {f"m{n}.yaml": finetune(f"m{n}", f"m{n - 1}") for n in range(1, 12)}
    world.settle()
    found = reviewed(world, m0=changed("m0"))
    told = str(by_name(found)["m11"].why)
    assert told.startswith("because Model default/m10 changes, due to Model default/m9")
    assert "due to … (7 between), due to Model default/m0 (training" in told


def test_what_a_sync_does_anyway_is_only_counted() -> None:
    world = settled()
    world.files["new.yaml"] = scratch("new")
    found = reviewed(world, b=finetune("b", "a").replace("epochs: 3", "epochs: 5"))
    assert set(by_name(found)) == {"b", "c", "d"}
    assert found.others == {ActionKind.CREATE: 2}
    assert plan_document(found)["summary"]["create"] == 5  # type: ignore[index,call-overload]


def test_a_change_of_the_how_runs_nothing_and_says_so() -> None:
    found = reviewed(settled(), a=scratch("a", ", timeout: 10m, resources: {gpu: {count: 2}}"))
    (told,) = found.objects
    assert [str(change) for change in told.why.fields] == [  # type: ignore[union-attr]
        "training.resources.gpu.count: (none) → 2",
        "training.timeout: 24h (default) → 10m",
    ]
    assert told.free == Reason.of(ReasonCode.ONLY_EXECUTION_CHANGES)
    assert summary(found) == "This change makes nothing run."


def test_the_same_value_written_differently_is_no_change() -> None:
    world = World({"a.yaml": scratch("a", ", timeout: 60m")})
    world.settle()
    assert reviewed(world, a=scratch("a", ", timeout: 1h")).objects == ()


def test_a_run_that_is_lost_is_told_with_its_time_and_attempt() -> None:
    world = World({"a.yaml": scratch("a", ", resources: {gpu: {count: 2}}")})
    run = training(world, "a")
    world.start(run)
    world.runs[run] = replace(world.runs[run], attempts=2)
    world.now += timedelta(hours=3)
    changed = scratch("a", ", resources: {gpu: {count: 2}}").replace("epochs: 3", "epochs: 5")
    found = reviewed(world, a=changed)
    assert lines(found, "a") == [
        "- train is cancelled in the middle of running, 3h00m in, attempt 2",
        "+ train runs for the first time: starts when the run it supersedes has ended",
    ]
    assert summary(found) == (
        "1 training runs for the first time with 2 GPUs; 1 run cancelled in the middle of running."
    )


def test_a_live_build_that_nothing_needs_any_more_is_told_with_its_object() -> None:
    world = World({"a.yaml": scratch("a")})
    world.sync()
    world.start(world.run_of("a", TaskKind.BUILD))
    world.sync()
    found = reviewed(world, a=scratch("a").replace("src/a", "src/other"))
    assert lines(found, "a")[0] == (
        "- build is cancelled in the middle of running, 0s in: no object needs this build any more"
    )


def test_what_is_held_by_the_change_is_its_doing() -> None:
    world = settled()
    world.settings = replace(world.settings, guard_tasks=2)
    found = reviewed(world, a=changed("a"))
    assert lines(found, "b") == ["! train is held"]
    (hold,) = found.holds
    assert summary(found) == "4 tasks held until they are released."
    world.released = frozenset({hold.id})
    again = review(world.plan(), before=world.plan(), errors=())
    assert (again.holds, again.released) == ((), (hold,))


def test_a_removal_that_is_held_is_told_as_that_and_not_as_its_tasks() -> None:
    world = settled()
    world.settings = replace(world.settings, guard_tasks=1, prune_floor=0, prune_share=0.3)
    before = world.plan()
    del world.files["c.yaml"], world.files["d.yaml"]
    world.files["a.yaml"] = changed("a")
    plan = world.plan()
    found = review(plan, before=before, errors=())
    for name in ("c", "d"):
        assert lines(found, name) == ["! None its removal is held: its manifest is gone"]
    assert lines(found, "b") == ["! train is held"]
    told = "2 tasks held until they are released; 2 removals held until they are released."
    assert summary(found) == told
    assert "- `!` its removal is held: its manifest is gone" in render_markdown(found)
    text = click.unstyle(render_text(found))
    assert "  ! its removal is held: its manifest is gone\n" in text
    document: Any = json.loads(json.dumps(plan_document(found)))
    assert document["summary"]["heldRemovals"] == 2
    held = [action for action in document["actions"] if action["reason"] == "HeldByPrune"]
    assert [(action["task"], action["name"]) for action in held] == [(None, "c"), (None, "d")]
    again = review(plan, before=plan, errors=())
    assert rest(again) == "1 task unchanged; with or without this change: 2 held, 2 removals held."


def test_a_dataset_that_goes_is_one_line() -> None:
    data = "kind: Dataset\nmetadata: {name: d}\nspec: {source: {git: {url: ., path: data}}}\n"
    world = World({"d.yaml": data}, settings=PlannerConfig(buckets=World().settings.buckets))
    world.files["a.yaml"] = scratch("a")
    world.settle()
    before = world.plan()
    del world.files["d.yaml"]
    found = review(world.plan(), before=before, errors=())
    assert [each.ref for each in found.objects] == [dataset("d")]
    assert lines(found, "d") == ["- None is removed: its manifest is gone; its artifacts stay"]
    assert len([a for a in found.actions if a.action is ActionKind.DELETE]) == 2
    assert found.objects[0].ref != model("d")


def test_sources_that_were_not_looked_up_are_told_as_not_known() -> None:
    plan = settled().plan()
    basis = Basis(observed=plan.inputs.now, unread={"https://x.test/a": "it is away"})
    found = review(plan, before=plan, errors=(), basis=basis)
    assert list(found.unknowns()) == [
        "whether https://x.test/a has moved: it stands here as recorded, as it is away"
    ]
    assert "**Not known**" in render_markdown(found)


def test_gpus_are_told_with_their_type_and_nodes() -> None:
    asked = ", resources: {gpu: {type: nvidia-l4, count: 2}, nodes: 3}"
    found = reviewed(World({"z.yaml": scratch("z")}), a=scratch("a", asked))
    train = next(a for a in found.actions if a.task is TaskKind.TRAIN)
    assert shown_gpus(train) == " (6 GPUs nvidia-l4 on 3 nodes)"
    assert "(6 GPUs nvidia-l4 on 3 nodes)" in render_markdown(found)


def test_the_summary_counts_runs_in_the_words_of_their_lines() -> None:
    world = settled()
    world.files |= {"e.yaml": scratch("e")}
    world.settle(lambda w, n: w.fail(n) if "-e-t-" in n else w.succeed(n))
    again = changed("a")
    found = reviewed(world, e=scratch("e", ", timeout: 10m"), a=again, f=finetune("f", "e"))
    assert lines(found, "e")[0].startswith("+ train runs once more")
    assert summary(found).startswith("6 trainings run (4 again, 1 once more, 1 for the first time)")
