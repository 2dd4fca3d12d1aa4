"""The commit that is in force where commits must be signed.

Without a state of its own: what a daemon takes after a restart is what it had before. A recorded
commit is believed only if it is verified itself, as others may write the record.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from reconciler.errors import GitError
from reconciler.git import MOST_COMMITS, Repository, Signature, SignatureVerifier
from reconciler.reasons import Reason, ReasonCode, message
from reconciler.types import Commit


class UnverifiedError(GitError):
    """No commit of the branch is signed by an allowed signer."""


@dataclass(frozen=True, slots=True)
class RefusedCommit:
    """An unverified commit in the history of a head."""

    head: Commit
    commit: Commit
    reason: Reason

    def __str__(self) -> str:
        which = "" if self.commit == self.head else f", as its commit {self.commit[:12]}"
        return f"the head {self.head[:12]} is refused{which}: {message(self.reason)}"


@dataclass(frozen=True, slots=True)
class VerifiedHead:
    """The commit in force; ``refused`` if an unverified one is the head."""

    commit: Commit
    refused: RefusedCommit | None = None


class HeadVerification:
    """Decides which commit of a branch is in force.

    ``mode`` head: the head has to be signed. ``every``: also each commit that it adds to the last
    one in force, those of merged branches among them.
    """

    def __init__(
        self,
        repository: Repository,
        verifier: SignatureVerifier,
        mode: Literal["head", "every"],
    ) -> None:
        self._repository = repository
        self._verifier = verifier
        self._mode = mode

    def resolve(self, head: Commit, last: Commit | None) -> VerifiedHead:
        """Return the commit in force, where ``last`` was so before.

        Where the head is refused, that is ``last``, or the newest verified commit among the first
        parents of the head. Raises UnverifiedError if there is none, and GitError.
        """
        if last is not None and (not self._repository.has(last) or self._refusal(last) is not None):
            last = None
        refused = self.refusal(head, last)
        if refused is None:
            return VerifiedHead(head)
        if last is not None:
            return VerifiedHead(last, refused)
        earlier = self._repository.history(head, first_parents=True, limit=MOST_COMMITS)
        verified = self._verifier.first_verified(self._repository.git_directory, earlier)
        if verified is None:
            why = f"{refused}; none of the last {len(earlier)} commits is verified"
            raise UnverifiedError(why)
        return VerifiedHead(verified, refused)

    def refusal(self, head: Commit, last: Commit | None) -> RefusedCommit | None:
        """Return the first commit for which a head is refused, or None."""
        reason = self._refusal(head)
        if reason is not None:
            return RefusedCommit(head, head, reason)
        if self._mode == "head" or last is None:
            return None
        new = self._repository.history(head, without=last, limit=MOST_COMMITS + 1)
        if len(new) > MOST_COMMITS:
            reason = Reason.of(ReasonCode.TOO_MANY_COMMITS, limit=MOST_COMMITS)
            return RefusedCommit(head, head, reason)
        for found in self._check(new):
            if found.refused is not None:
                return RefusedCommit(head, found.commit, found.refused)
        return None

    def _refusal(self, commit: Commit) -> Reason | None:
        return next(self._check([commit])).refused

    def _check(self, commits: Sequence[Commit]) -> Iterator[Signature]:
        return self._verifier.check(self._repository.git_directory, commits)
