"""Signatures that changes of tenants' files need.

All is counted on the first parents of a head, so that a merge is what it changes there. The rule
has no state of its own: of the commits that change a file of a tenant, the newest is signed by one
of its signers, who thereby stands for those below. So a daemon accepts after a restart what it
accepted before. Beside it, a head that does not continue the first parents of the last commit in
force is one step from there: else a merge with swapped parents, which is no force push, would take
a tenant's files back to an earlier form.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from reconciler.git import Repository, SignatureVerifier
from reconciler.manifests import Tenants
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import Commit

#: First parents in which the newest change of each tenant is looked for. The last of them counts
#: as a change of all that it has. A commit takes some 0.1 ms, and is looked at once.
MOST_WALKED = 20_000
_MOST_KNOWN = 10_000

#: By a tenant's name, a commit and the first path of the tenant's that it changes.
Changes: TypeAlias = Mapping[str, tuple[Commit, str]]


@dataclass(frozen=True, slots=True)
class UnsignedChange:
    """A change of a tenant's file, signed by none of its signers."""

    commit: Commit
    reason: Reason


class TenantSignatures:
    """Checks who signed the changes of tenants' files.

    ``verifiers`` are those of the tenants with signers, by name. A tenant's files are those in its
    ``paths`` and its ``releases``, links and submodules among them. All methods raise GitError. To
    be used from one thread at a time.
    """

    def __init__(
        self, repository: Repository, tenants: Tenants, verifiers: Mapping[str, SignatureVerifier]
    ) -> None:
        self._repository = repository
        self._tenants = tenants
        self._verifiers = verifiers
        self._releases: Mapping[str, set[str]] = defaultdict(set)
        for tenant in tenants.members:
            for file in tenant.releases:
                self._releases[file].add(tenant.name)
        #: The newest change of each tenant up to a commit.
        self._newest: dict[Commit, Changes] = {}

    def unsigned(self, head: Commit) -> UnsignedChange | None:
        """Check the newest change of each tenant's files."""
        return self._first_unsigned(self._newest_changes(head))

    def unsigned_among(self, head: Commit, new: Container[Commit]) -> UnsignedChange | None:
        """Check all changes by the new ones of a head's first parents."""
        for commit, parent in self._line(head):
            if commit not in new:
                return None
            found = self._first_unsigned(self._changes(parent, commit))
            if found is not None:
                return found
        return None

    def unsigned_step(self, last: Commit, head: Commit) -> UnsignedChange | None:
        """Check a head that is off the last commit's line.

        Where it does not continue the first parents of the last commit, it must itself be signed by
        the signers of each tenant whose files differ between the two.
        """
        if head == last or any(commit == last for commit, _ in self._line(head)):
            return None
        return self._first_unsigned(self._changes(last, head))

    def learn(self, line: Sequence[Commit]) -> None:
        """Find the newest changes up to each commit of a line.

        Its first parents are listed newest first. That is one walk, where :meth:`unsigned` of each
        would be as many.
        """
        found = self._newest_changes(line[-1])
        for parent, commit in pairwise(reversed(line)):
            found = self._remember(commit, {**found, **self._changes(parent, commit)})

    def _newest_changes(self, head: Commit) -> Changes:
        known = self._newest.get(head)
        return self._remember(head, self._walk(head)) if known is None else known

    def _remember(self, commit: Commit, changes: Changes) -> Changes:
        if len(self._newest) >= _MOST_KNOWN:
            self._newest.clear()
        self._newest[commit] = changes
        return changes

    def _walk(self, head: Commit) -> Changes:
        found: dict[str, tuple[Commit, str]] = {}
        for commit, parent in self._line(head):
            known = self._newest.get(commit)
            found = {**(self._changes(parent, commit) if known is None else known), **found}
            if known is not None or len(found) == len(self._verifiers):
                break
        return found

    def _line(self, head: Commit) -> Iterator[tuple[Commit, Commit | None]]:
        """Yield a head and its first parents, each with its own."""
        line = self._repository.history(head, first_parents=True, limit=MOST_WALKED)
        return zip(line, [*line[1:], None], strict=True)

    def _changes(self, before: Commit | None, after: Commit) -> Changes:
        """Find the tenants with differing files, each with its first path.

        None is an empty tree.
        """
        found: dict[str, tuple[Commit, str]] = {}
        for path in self._repository.changed_paths(before, after, self._is_signed):
            for owner in self._owners(path):
                found.setdefault(owner, (after, path))
        return found

    def _is_signed(self, path: str) -> bool:
        return any(self._owners(path))

    def _owners(self, path: str) -> Iterator[str]:
        """Yield the tenants with signers that a path is of."""
        tenant = self._tenants.of_path(path)
        owners = self._releases.get(path, set()) | ({tenant.name} if tenant is not None else set())
        return (owner for owner in owners if owner in self._verifiers)

    def _first_unsigned(self, changes: Changes) -> UnsignedChange | None:
        for tenant, (commit, path) in sorted(changes.items()):
            checked = self._verifiers[tenant].check(self._repository.git_directory, [commit])
            refused = next(checked).refused
            if refused is not None:
                reason = Reason.of(
                    ReasonCode.NOT_SIGNED_BY_TENANT,
                    path=path,
                    tenant=tenant,
                    cause=refused.code.value,
                )
                return UnsignedChange(commit, reason)
        return None
