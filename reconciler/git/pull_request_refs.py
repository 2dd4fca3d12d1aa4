"""Heads of pull requests, fetched and merged in their own repository.

Anyone who may open a pull request may send them. So their repository can be removed at any time,
the size of each fetch is bounded, and merging is done by a process with a deadline. Nothing is
checked out.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pygit2

from reconciler.errors import GitError
from reconciler.git.bare import BareCopy
from reconciler.git.command import environment, run_git
from reconciler.git.credentials import CredentialTable
from reconciler.git.recovery import rebuilding
from reconciler.git.repository import Repository
from reconciler.git.transport import DEFAULT_TIMEOUT, LARGEST_FETCH, Transport
from reconciler.types import Commit

#: Packs of that size that may be left of closed pull requests, before all is fetched anew.
_MOST_LEFT = 4
_MERGING_TIMEOUT = 60.0
_MOST_CONFLICTS = 3
#: The folder of the heads' refs here; the branch that they are for is in refs/heads/.
_PROPOSALS = "refs/proposals/"


@dataclass(frozen=True, slots=True)
class Conflict:
    """A merge conflict; ``paths`` are the first of its files."""

    paths: tuple[str, ...]


class Proposals(Repository):
    """A branch, and the heads of the pull requests for it."""

    def __init__(
        self,
        path: Path,
        url: str,
        *,
        branch: str,
        credentials: CredentialTable,
        timeout: float = DEFAULT_TIMEOUT,
        largest: int = LARGEST_FETCH,
    ) -> None:
        self._copy = BareCopy(path)
        super().__init__(self._copy.repository)
        self._transport = Transport(credentials, path.parent / "home", timeout)
        self._url = url
        self._branch = f"refs/heads/{branch}"
        self._largest = largest
        self._begun = 0

    def fetch_base(self, commit: Commit) -> None:
        """Fetch the branch, unless the commit is here already. Raises GitError."""
        if self.has(commit):
            return
        self._fetch(self._branch, self._branch)
        self._begun = self._begun or self._size()
        if not self.has(commit):
            raise GitError(f"{self._branch} has no commit {commit} any more")

    def branches(self) -> dict[str, Commit]:
        """Return the heads of the remote's branches, by name. Raises GitError."""
        prefix = "refs/heads/"
        found = self._transport.list_refs(self._url, [f"{prefix}*"]).commits
        return {n.removeprefix(prefix): c for n, c in found.items() if n.startswith(prefix)}

    def fetch_head(self, ref: str, *, depth: int | None = None) -> Commit:
        """Fetch a head's ref and return its commit. Raises GitError."""
        name = _PROPOSALS + ref.removeprefix("refs/")
        self._fetch(ref, name, largest=self._largest, depth=depth)
        head = self._copy.ref(name)
        if head is None or not self.has(Commit(head)):
            raise GitError(f"{ref} is no commit")
        return Commit(head)

    def _fetch(
        self, ref: str, name: str, *, largest: int | None = None, depth: int | None = None
    ) -> None:
        def fetch() -> None:
            self._copy.sweep()
            refspec = f"+{ref}:{name}"
            self._transport.fetch(
                self._copy.path, self._url, [refspec], largest=largest, depth=depth
            )

        rebuilding(fetch, self.remake)
        self._copy.tidy()
        self._repository = self._copy.repository

    def remake(self) -> None:
        """Remove everything; it is fetched again when it is needed."""
        self._copy.remake()
        self._repository = self._copy.repository
        self._begun = 0

    def _size(self) -> int:
        """Return the bytes in packs."""
        packs = (self._copy.path / "objects" / "pack").glob("*.pack")
        return sum(pack.stat().st_size for pack in packs)

    def keep_only(self, refs: Collection[str]) -> None:
        """Forget the heads of pull requests that are closed.

        Their objects are removed with all others, once they may be many.
        """
        kept = {_PROPOSALS + ref.removeprefix("refs/") for ref in refs}
        with suppress(pygit2.GitError):
            for name in list(self._repository.references):
                if name.startswith(_PROPOSALS) and name not in kept:
                    self._repository.references.delete(name)
        if self._size() > self._begun + _MOST_LEFT * self._largest:
            self.remake()

    def merged(self, base: Commit, head: Commit) -> Commit | Conflict:
        """Merge head into base and return the commit, or the conflict.

        Returns base where it has head already. The same two commits always give the same merge
        commit. Raises GitError.
        """
        ancestor = self._reading(lambda: self._repository.merge_base(base, head))
        if ancestor is None:
            raise GitError("it has no commit in common with the branch")
        if str(ancestor) == head:
            return base
        if str(ancestor) == base:
            return head
        found = self._merge_tree(base, head)
        if isinstance(found, Conflict):
            return found
        author = pygit2.Signature("reconciler", "reconciler@localhost", 0, 0)
        parents = [pygit2.Oid(hex=base), pygit2.Oid(hex=head)]
        message = f"Merge {head}\n"
        return self._reading(
            lambda: Commit(
                str(self._repository.create_commit(None, author, author, message, found, parents))
            )
        )

    def _merge_tree(self, base: Commit, head: Commit) -> pygit2.Oid | Conflict:
        options = ["--write-tree", "--name-only", "--no-messages", "-z"]
        done = run_git(
            [f"--git-dir={self._copy.path}", "merge-tree", *options, base, head],
            env=environment(self._copy.path),
            timeout=_MERGING_TIMEOUT,
            largest=self._largest,
        )
        tree, *paths = done.out.rstrip("\0").split("\0")
        if done.code == 1:
            return Conflict(tuple(dict.fromkeys(paths))[:_MOST_CONFLICTS])
        if done.code != 0:
            said = done.err.strip()[-200:]
            raise GitError(f"it cannot be merged here (Git 2.38 or newer is needed): {said}")
        return pygit2.Oid(hex=tree.strip())
