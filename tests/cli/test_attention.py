"""Below the table of ``run --once``: whole messages of what needs a user, with the remedy."""

from __future__ import annotations

from dataclasses import replace

from reconciler.cli.run import attention
from reconciler.planner import ObjectStatus, Phase
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import TaskKind
from tests.planner.world import World, model, scratch

HELD = "needs the line 396c279cf35e in .reconciler/release: would make 4 tasks"


def test_objects_on_one_hold_are_named_together_with_its_whole_id() -> None:
    records = [
        ObjectStatus(ref=model(name), phase=Phase.HELD, reason="HeldByGuard", message=HELD)
        for name in "ba"
    ]
    assert list(attention(records, None)) == [
        f"  Model default/a, Model default/b are Held: {HELD}",
        (
            "    What to do: Add the line to the file that the message names and commit that, or "
            "revert the change."
        ),
    ]


def failed(world: World, reason: Reason, *, attempts: int) -> list[str]:
    """What is told of an object whose training has failed so."""

    def end(world: World, name: str) -> None:
        if world.specs[name].task is TaskKind.BUILD:
            world.succeed(name)
            return
        world.fail(name)
        world.runs[name] = replace(world.runs[name], reason=reason, attempts=attempts)

    plan = world.settle(end)
    return list(attention(world.records.values(), plan))


def test_a_failure_is_told_whole_with_where_its_log_is() -> None:
    text = f"its command ended with exit code 3: {'because ' * 40}"
    world = World({"a.yaml": scratch("a")})
    assert failed(world, Reason.read("CommandFailed", text), attempts=1) == [
        f"  Model default/a is Failed: train: {text}",
        (
            "    What to do: Read the log; mend the code or the params and push. "
            "`reconciler logs a` prints its log."
        ),
    ]


def test_a_command_that_could_not_start_has_no_log_to_look_at() -> None:
    reason = Reason.of(ReasonCode.COMMAND_NOT_EXECUTABLE, name="train.sh")
    assert failed(World({"a.yaml": scratch("a")}), reason, attempts=0) == [
        "  Model default/a is Failed: train: train.sh has no execute permission (chmod +x)",
        (
            "    What to do: `git update-index --chmod=+x src/a/train.sh` and commit that, or "
            "chmod +x in the Dockerfile."
        ),
    ]


def test_what_needs_nobody_is_not_listed() -> None:
    phases = set(Phase) - {Phase.FAILED, Phase.REJECTED, Phase.HELD, Phase.LOST}
    records = [ObjectStatus(ref=model("a"), phase=phase) for phase in phases]
    assert not list(attention(records, None))


def test_a_reason_of_another_version_has_its_message_alone() -> None:
    lost = ObjectStatus(ref=model("a"), phase=Phase.LOST, reason="FromLater", message="gone")
    assert next(iter(attention([lost], None))) == "  Model default/a is Lost: gone"
