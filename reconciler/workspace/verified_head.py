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
from reconciler.workspace.tenant_signatures import TenantSignatures, UnsignedChange


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
    one in force, those of merged branches among them. ``tenants`` checks changes of their files.
    """

    def __init__(
        self,
        repository: Repository,
        verifier: SignatureVerifier,
        mode: Literal["head", "every"],
        tenants: TenantSignatures | None = None,
    ) -> None:
        self._repository = repository
        self._verifier = verifier
        self._mode = mode
        self._tenants = tenants

    def resolve(self, head: Commit, last: Commit | None) -> VerifiedHead:
        """Return the commit in force, where ``last`` was so before.

        Where the head is refused, that is ``last``, or the newest verified commit among the first
        parents of the head. Raises UnverifiedError if there is none, and GitError.
        """
        if last is not None and not self._is_believed(last):
            last = None
        refused = self.refusal(head, last)
        if refused is None and last is not None and self._tenants is not None:
            step = self._tenants.unsigned_step(last, head)
            refused = RefusedCommit(head, step.commit, step.reason) if step is not None else None
        if refused is None:
            return VerifiedHead(head)
        if last is not None:
            return VerifiedHead(last, refused)
        earlier = self._repository.history(head, first_parents=True, limit=MOST_COMMITS)
        verified = self._first_verified(earlier)
        if verified is None:
            why = f"{refused}; none of the last {len(earlier)} commits is verified"
            raise UnverifiedError(why)
        return VerifiedHead(verified, refused)

    def refusal(self, head: Commit, last: Commit | None) -> RefusedCommit | None:
        """Return the first commit for which a head is refused, or None.

        The head need not continue ``last``: that of a pull request does not.
        """
        reason = self._refusal(head)
        if reason is not None:
            return RefusedCommit(head, head, reason)
        new: list[Commit] = []
        if self._mode == "every" and last is not None:
            new = self._repository.history(head, without=last, limit=MOST_COMMITS + 1)
            end = self._repository.shallow_in(head, without=last)
            if end is not None:
                reason = Reason.of(ReasonCode.HISTORY_SHALLOW, commit=end[:12])
                return RefusedCommit(head, head, reason)
        if len(new) > MOST_COMMITS:
            reason = Reason.of(ReasonCode.TOO_MANY_COMMITS, limit=MOST_COMMITS)
            return RefusedCommit(head, head, reason)
        for found in self._check(new):
            if found.refused is not None:
                return RefusedCommit(head, found.commit, found.refused)
        change = self._unsigned(head)
        if change is None and self._tenants is not None and new:
            change = self._tenants.unsigned_among(head, {*new})
        return RefusedCommit(head, change.commit, change.reason) if change is not None else None

    def _is_believed(self, last: Commit) -> bool:
        if not self._repository.has(last) or self._refusal(last) is not None:
            return False
        return self._unsigned(last) is None

    def _first_verified(self, commits: list[Commit]) -> Commit | None:
        """Return the first of a line of first parents that is verified."""
        if self._tenants is not None:
            self._tenants.learn(commits)
        for found in self._check(commits):
            if found.refused is None and self._unsigned(found.commit) is None:
                return found.commit
        return None

    def _unsigned(self, commit: Commit) -> UnsignedChange | None:
        return self._tenants.unsigned(commit) if self._tenants is not None else None

    def _refusal(self, commit: Commit) -> Reason | None:
        return next(self._check([commit])).refused

    def _check(self, commits: Sequence[Commit]) -> Iterator[Signature]:
        return self._verifier.check(self._repository.git_directory, commits)
