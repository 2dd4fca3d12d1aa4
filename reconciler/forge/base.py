"""What is asked of a forge, in terms that every forge has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from reconciler.errors import ReconcilerError, Trouble
from reconciler.review import CommitStatus
from reconciler.types import Commit


class ForgeError(ReconcilerError):
    """A forge did not do what it was asked.

    ``pause`` is for how many seconds it wants to be left alone, where it said so. ``lasting``:
    this one thing would be refused again, and everything else need not be.
    """

    def __init__(
        self, message: str, trouble: Trouble, *, pause: float = 0.0, lasting: bool = False
    ) -> None:
        super().__init__(message)
        self.trouble = trouble
        self.pause = pause
        self.lasting = lasting


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequest:
    """An open request to merge ``head``, of the branch ``branch``, into the branch ``target``.

    ``ref`` is where the repository it is merged into has its head, also that of a fork's.
    """

    number: int
    head: Commit
    branch: str
    target: str
    ref: str


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment of ours."""

    id: int
    body: str


class Forge(Protocol):
    """One repository on a forge. Every call raises ForgeError."""

    async def open_requests(self, target: str, most: int) -> Sequence[PullRequest]:
        """The open requests to merge into a branch, those first that something happened to last.

        Looks through no more pages than ``most`` of them would fill.
        """
        ...

    async def verdict(self, commit: Commit) -> CommitStatus | None:
        """The status that we gave a commit."""
        ...

    async def judge(self, request: PullRequest, commit: Commit, verdict: CommitStatus) -> None:
        """Give a commit of a request a status, in the place of one that it may have from us."""
        ...

    async def own_comment(self, number: int, marker: str) -> Comment | None:
        """Our first comment on a request that begins with the marker."""
        ...

    async def comment(self, number: int, body: str) -> Comment:
        """Write a comment on a request."""
        ...

    async def edit(self, number: int, comment: Comment, body: str) -> Comment | None:
        """Put another text into a comment of ours; None where it is not there any more."""
        ...
