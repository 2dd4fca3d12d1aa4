"""Commits that somebody proposes to merge: fetched apart from everything else, and merged here.

They come from whoever may open a pull request. So they have a repository of their own, that can
be thrown away at any time, what is fetched of one is bounded, and merging is done by a process
with a deadline. Nothing is checked out.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pygit2

from reconciler.git.bare import BareCopy
from reconciler.git.client import DEFAULT_TIMEOUT, Transport
from reconciler.git.command import environment, run_git
from reconciler.git.credentials import CredentialTable
from reconciler.git.errors import DamagedError, GitError
from reconciler.git.repository import Repository
from reconciler.types import Commit

#: The largest pack that a proposal may bring, in bytes.
LARGEST = 256 << 20
#: How many of that size may be left of proposals that are closed, before all is fetched anew.
_MOST_LEFT = 4
_MERGING_TIMEOUT = 60.0
_MOST_CONFLICTS = 3
#: Those of the proposals that are fetched; the branch they are for is in refs/heads/.
_PROPOSALS = "refs/proposals/"


@dataclass(frozen=True, slots=True)
class Conflict:
    """It cannot be merged as it is; ``paths`` are the first files that differ on both sides."""

    paths: tuple[str, ...]


class Proposals(Repository):
    """The branch that is merged into, and the heads that are proposed for it."""

    def __init__(
        self,
        path: Path,
        url: str,
        *,
        branch: str,
        credentials: CredentialTable,
        timeout: float = DEFAULT_TIMEOUT,
        largest: int = LARGEST,
    ) -> None:
        self._copy = BareCopy(path)
        super().__init__(self._copy.repository)
        self._transport = Transport(credentials, path.parent / "home", timeout)
        self._url = url
        self._branch = f"refs/heads/{branch}"
        self._largest = largest
        self._begun = 0

    def fetch_base(self, commit: Commit) -> None:
        """Have the branch up to this commit. Raises GitError."""
        if self.has(commit):
            return
        self._fetch(self._branch, self._branch)
        self._begun = self._begun or self._size()
        if not self.has(commit):
            raise GitError(f"{self._branch} has no commit {commit} any more")

    def fetch_head(self, ref: str) -> Commit:
        """The commit that is proposed at a ref of the remote now. Raises GitError."""
        name = _PROPOSALS + ref.removeprefix("refs/")
        self._fetch(ref, name, largest=self._largest)
        head = self._copy.ref(name)
        if head is None or not self.has(Commit(head)):
            raise GitError(f"{ref} is no commit")
        return Commit(head)

    def _fetch(self, ref: str, name: str, *, largest: int | None = None) -> None:
        def fetch() -> None:
            self._copy.sweep()
            refspec = f"+{ref}:{name}"
            self._transport.fetch(self._copy.path, self._url, [refspec], largest=largest)

        try:
            fetch()
        except DamagedError:
            self.remake()
            fetch()
        self._copy.tidy()
        self._repository = self._copy.repository

    def remake(self) -> None:
        """Throw everything away, which is fetched again when it is asked for."""
        self._copy.remake()
        self._repository = self._copy.repository
        self._begun = 0

    def _size(self) -> int:
        """Bytes in packs."""
        packs = (self._copy.path / "objects" / "pack").glob("*.pack")
        return sum(pack.stat().st_size for pack in packs)

    def keep_only(self, refs: Collection[str]) -> None:
        """Forget proposals that are not open any more.

        What they brought is dropped with everything else, once it may be much.
        """
        kept = {_PROPOSALS + ref.removeprefix("refs/") for ref in refs}
        with suppress(pygit2.GitError):
            for name in list(self._repository.references):
                if name.startswith(_PROPOSALS) and name not in kept:
                    self._repository.references.delete(name)
        if self._size() > self._begun + _MOST_LEFT * self._largest:
            self.remake()

    def merged(self, base: Commit, head: Commit) -> Commit | Conflict:
        """The commit that merging head into base would make; base, if it has head already.

        The same two commits always make the same one. Raises GitError.
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
