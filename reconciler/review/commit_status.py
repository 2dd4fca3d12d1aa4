"""The commit status of a plan: state and one line."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from reconciler.review.escape import printable
from reconciler.review.quantities import counted
from reconciler.review.report import Review
from reconciler.review.sentences import grouped_errors, summary

#: GitHub refuses descriptions of more characters than this.
LONGEST = 140


class CommitState(enum.StrEnum):
    """The states that every forge knows, by GitHub's names.

    ``ERROR`` is for a change that could not be planned.
    """

    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class CommitStatus:
    """A commit status; ``description`` is one line of at most 140 characters."""

    state: CommitState
    description: str


def make_status(state: CommitState, text: str) -> CommitStatus:
    """Make a status of untrusted text of any length."""
    words = printable(text)
    return CommitStatus(state, words if len(words) <= LONGEST else f"{words[: LONGEST - 1]}…")


def status_of(review: Review) -> CommitStatus:
    """Make the status of a review.

    Errors in the manifests are a failure. A hold is a question to the reviewer, and is not.
    """
    errors = list(grouped_errors(review))
    if errors:
        more = f" (and {counted(len(errors) - 1, 'more error')})" if len(errors) > 1 else ""
        first = printable(str(errors[0]))
        longest = LONGEST - len(more)
        text = first if len(first) <= longest else f"{first[: longest - 1]}…"
        return make_status(CommitState.FAILURE, f"{text}{more}")
    hold = next(iter(review.holds), None)
    held = f"Held, see {hold.files[0]}: {hold.id}. " if hold is not None else ""
    return make_status(CommitState.SUCCESS, f"{held}{summary(review)}")
