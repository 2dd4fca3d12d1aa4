"""``why``: each task in words, and below it what it waits for, down to what can be done."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.engine import FailureClass
from reconciler.planner.phases import Phase
from reconciler.reasons import Reason, ReasonCode
from reconciler.review.why import why_lines
from reconciler.types import ObjectRef, TaskKind
from tests.planner.histories import changed
from tests.planner.world import World, finetune, model, scratch

PROMOTED = (
    "kind: Model\nmetadata: {name: p}\nspec: {source: {model: {name: c}}, load: {command: []}}\n"
)


def told(world: World, ref: ObjectRef) -> list[str]:
    return [f"{'  ' * depth}{line}" for depth, line in why_lines(world.plan(), ref)]


def released_by(hold: str) -> str:
    return f"  To release it, add the line {hold} to .reconciler/release, and commit that."


def chain() -> World:
    world = World({"a.yaml": scratch("a"), "b.yaml": finetune("b", "a")})
    world.files |= {"c.yaml": finetune("c", "b"), "p.yaml": PROMOTED}
    return world


def test_needs_are_followed_to_what_runs_first() -> None:
    world = chain()
    world.sync()
    world.start(world.run_of("a", TaskKind.BUILD))
    assert told(world, model("p")) == [
        "Nothing runs for it: it takes over the artifact of Model default/c.",
        "  train of Model default/c: starts once what it needs is complete",
        "    build of Model default/a: running",
        "    train of Model default/b: starts once what it needs is complete",
        "      build of Model default/a: running (as above)",
        "      train of Model default/a: starts once what it needs is complete",
        "        build of Model default/a: running (as above)",
    ]


def test_a_failure_is_told_with_what_releases_it() -> None:
    world = chain()
    world.settle(lambda w, n: w.fail(n) if "-a-" in n else w.succeed(n))
    assert told(world, model("a"))[1:] == [
        "train: failed, and is not run again: the command exited with 1",
        "  What to do: Read the log; mend the code or the params and push.",
        "  `reconciler logs a` prints its log.",
        "  It runs again when its inputs or settings change, or by `reconciler retry a`.",
    ]
    assert any("train of Model default/a: failed" in line for line in told(world, model("c")))


def refused_to_start(world: World, name: str) -> None:
    """End a training whose script has no execute permission, and all else well."""
    if world.specs[name].task is not TaskKind.TRAIN:
        return world.succeed(name)
    world.fail(name)
    reason = Reason.of(ReasonCode.COMMAND_NOT_EXECUTABLE, name="train.sh")
    world.runs[name] = replace(world.runs[name], attempts=0, reason=reason)
    return None


def test_a_script_without_the_execute_bit_is_named_by_its_path_and_has_no_log() -> None:
    world = World({"a.yaml": scratch("a"), "b.yaml": finetune("b", "a")})
    world.settle(refused_to_start)
    lines = told(world, model("a"))
    assert lines[2] == (
        "  What to do: `git update-index --chmod=+x src/a/train.sh` and commit that, or chmod +x "
        "in the Dockerfile."
    )
    assert not [line for line in lines if "reconciler logs" in line]

    world.files["a.yaml"] = world.files["a.yaml"].replace(
        "url: .", "url: https://example.com/team/x"
    )
    world.settle(refused_to_start)
    assert told(world, model("a"))[2].endswith(" Its repository is https://example.com/team/x.")


def test_a_script_of_the_base_is_named_by_its_path_there() -> None:
    world = World({"a.yaml": scratch("a"), "b.yaml": finetune("b", "a")})
    world.settle(lambda w, n: refused_to_start(w, n) if "-b-" in n else w.succeed(n))
    assert "src/a/train.sh" in told(world, model("b"))[1]


def test_the_log_of_a_task_that_is_not_the_last_one_is_asked_for_by_its_task() -> None:
    world = World({"a.yaml": scratch("a")})
    world.settle(refused_to_start)
    ref = model("a")
    world.records[ref] = replace(
        world.records[ref],
        tasks=tuple(
            replace(task, attempts=1, started=world.now if task.task is TaskKind.BUILD else None)
            for task in world.records[ref].tasks
        ),
    )
    assert "  `reconciler logs a --task train` prints its log." in told(world, ref)


def test_a_failure_that_is_not_the_commands_says_when_it_is_tried_again() -> None:
    world = World({"a.yaml": scratch("a")})
    world.sync()
    world.fail(world.run_of("a", TaskKind.BUILD), FailureClass.INFRASTRUCTURE)
    assert "tried again at " in told(world, model("a"))[0]


def test_what_is_held_names_the_line_that_releases_it() -> None:
    world = chain()
    world.settle()
    world.settings = replace(world.settings, guard_tasks=1)
    world.files["a.yaml"] = changed("a")
    (hold,) = world.plan().holds
    lines = told(world, model("b"))
    assert lines[0] == "train: held"
    assert released_by(hold.id) in lines


def test_an_object_that_goes_or_stays_or_is_held_back_from_going() -> None:
    world = chain()
    world.settle()
    del world.files["p.yaml"]
    assert told(world, model("p")) == [
        "Its manifest is gone: the next sync removes it. Its artifacts stay."
    ]
    world.settings = replace(world.settings, prune=False)
    assert told(world, model("p")) == [
        "its manifest is gone; prune is disabled",
        "  What to do: Enable prune to have the object removed.",
    ]
    world.settings = replace(world.settings, prune=True)
    world.files.clear()
    (hold,) = world.plan().holds
    assert told(world, model("p"))[2] == released_by(hold.id)


@pytest.mark.parametrize(
    ("change", "first"),
    [
        (
            {"a.yaml": scratch("a").replace("spec:\n", "spec:\n  suspend: true\n")},
            "build: spec.suspend is true, so nothing new starts",
        ),
        ({"a.yaml": scratch("a", ", timeout: soon")}, "Its manifest is wrong: a.yaml:5:"),
    ],
)
def test_what_keeps_it_is_the_first_thing_said(change: dict[str, str], first: str) -> None:
    world = World(change)
    world.sync()
    assert told(world, model("a"))[0].startswith(first)


def test_a_source_that_cannot_be_read() -> None:
    world = World({"a.yaml": scratch("a")}, trees={".//src/a": "unreachable"})
    world.sync()
    assert world.phase("a") is Phase.WAITING
    assert told(world, model("a")) == [
        "Not all of its tasks are known: .//src/a cannot be read: connection refused.",
        "  What to do: Mend the URL, branch, credentials or network that the message names.",
    ]
