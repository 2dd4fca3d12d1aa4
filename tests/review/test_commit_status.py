"""A plan in the one line that a commit status has."""

from __future__ import annotations

from reconciler.planner.plan import Hold, HoldKind
from reconciler.reasons import Reason, ReasonCode
from reconciler.review.commit_status import LONGEST, CommitState, make_status, status_of
from reconciler.review.report import Review
from reconciler.types import Commit, Location, Problem
from tests.planner.world import START


def review(*errors: Problem, holds: tuple[Hold, ...] = ()) -> Review:
    base, head = Commit("b" * 40), Commit("a" * 40)
    return Review(base=base, head=head, actions=(), errors=errors, now=START, holds=holds)


def test_a_sound_change_is_a_success() -> None:
    found = status_of(review())
    assert (found.state, found.description) == (
        CommitState.SUCCESS,
        "This change makes nothing run.",
    )


def test_the_first_error_has_its_place_and_the_others_are_counted() -> None:
    errors = [Problem(Location("models/a.yaml", 7, 5), "spec.x", "is unknown " * 50)] * 1
    errors += [Problem(Location("models/b.yaml", n, 1), "spec", "is required") for n in range(1, 4)]
    found = status_of(review(*errors))
    assert found.state is CommitState.FAILURE
    assert found.description.startswith("models/a.yaml:7:5")
    assert found.description.endswith("… (and 3 more errors)")
    assert len(found.description) == LONGEST


def test_a_hold_is_a_question_and_no_failure() -> None:
    hold = Hold(
        id="0123456789ab",
        kind=HoldKind.GUARD,
        objects=frozenset(),
        tasks=9,
        gpus=0,
        reason=Reason.of(ReasonCode.UNKNOWN),
    )
    found = status_of(review(holds=(hold,)))
    assert found.state is CommitState.SUCCESS
    assert "0123456789ab" in found.description


def test_a_commit_status_is_one_short_line_whatever_people_wrote() -> None:
    found = make_status(CommitState.ERROR, "a\nb\u202e" + "x" * 1000)
    assert found.description.isprintable()
    assert len(found.description) == LONGEST
