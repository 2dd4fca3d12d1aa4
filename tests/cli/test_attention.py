"""Below the table of ``run --once``: whole messages of what needs a user, with the remedy."""

from __future__ import annotations

from reconciler.cli.attention import attention
from reconciler.planner import ObjectStatus, Phase
from tests.planner.world import model

HELD = "needs the line 396c279cf35e in .reconciler/release: would make 4 tasks"


def test_objects_on_one_hold_are_named_together_with_its_whole_id() -> None:
    records = [
        ObjectStatus(ref=model(name), phase=Phase.HELD, reason="HeldByGuard", message=HELD)
        for name in "ba"
    ]
    assert list(attention(records)) == [
        f"  Model default/a, Model default/b are Held: {HELD}",
        (
            "    What to do: Add the line to the file that the message names and commit that, or "
            "revert the change."
        ),
    ]


def test_a_failure_is_told_whole_with_where_its_log_is() -> None:
    message = f"train: its command ended with exit code 3: {'because ' * 40}"
    failed = ObjectStatus(
        ref=model("a"), phase=Phase.FAILED, reason="CommandFailed", message=message
    )
    assert list(attention([failed])) == [
        f"  Model default/a is Failed: {message}",
        (
            "    What to do: Read the log; mend the code or the params and push. "
            "`reconciler logs a` prints the log."
        ),
    ]


def test_what_needs_nobody_is_not_listed() -> None:
    phases = set(Phase) - {Phase.FAILED, Phase.HELD, Phase.LOST}
    assert not list(attention(ObjectStatus(ref=model("a"), phase=phase) for phase in phases))


def test_a_reason_of_another_version_has_its_message_alone() -> None:
    lost = ObjectStatus(ref=model("a"), phase=Phase.LOST, reason="FromLater", message="gone")
    assert next(iter(attention([lost]))) == "  Model default/a is Lost: gone"
