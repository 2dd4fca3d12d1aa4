"""The interface to forges, in terms that every forge has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from reconciler.errors import ReconcilerError, Trouble
from reconciler.review import CommitStatus
from reconciler.types import Commit


class ForgeError(ReconcilerError):
    """A call to a forge failed.

    ``pause`` is for how many seconds the forge wants no calls, where it said so. ``lasting``: this
    call would be refused again, while others need not be.
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
    """An open request to merge ``head`` of ``branch`` into ``target``.

    ``ref`` is the ref of its head in the repository of ``target``, also for a request of a fork
    (``is_fork``). It may be behind ``head`` for a while.
    """

    number: int
    head: Commit
    branch: str
    target: str
    ref: str
    is_fork: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRequest:
    """A pull request of ours."""

    number: int
    branch: str
    title: str
    body: str
    is_open: bool


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment of ours."""

    id: int
    body: str


class Forge(Protocol):
    """One repository on a forge. Every call raises ForgeError."""

    async def open_requests(self, target: str, most: int) -> Sequence[PullRequest]:
        """List open requests to merge into a branch, newest activity first.

        Reads no more pages than ``most`` requests would fill.
        """
        ...

    async def status(self, commit: Commit) -> CommitStatus | None:
        """Return the status that we set on a commit, or None."""
        ...

    async def set_status(self, request: PullRequest, commit: Commit, status: CommitStatus) -> None:
        """Set a status on a request's commit, replacing our earlier one."""
        ...

    async def own_comment(self, number: int, marker: str) -> Comment | None:
        """Return our first comment on a request that begins with the marker."""
        ...

    async def comment(self, number: int, body: str) -> Comment:
        """Write a comment on a request."""
        ...

    async def edit(self, number: int, comment: Comment, body: str) -> Comment | None:
        """Replace the text of our comment; None where it is gone."""
        ...

    async def own_requests(self, target: str, branch: str) -> Sequence[OwnRequest]:
        """List our requests to merge ``branch`` into ``target``.

        Open or not, the newest first.

        Those of long ago may be left out.
        """
        ...

    async def open(self, target: str, branch: str, title: str, body: str) -> OwnRequest:
        """Open a request to merge a branch of the repository itself."""
        ...

    async def revise(self, number: int, title: str, body: str) -> None:
        """Replace the title and the text of our request."""
        ...

    async def close(self, number: int) -> None:
        """Close our request without a merge."""
        ...
