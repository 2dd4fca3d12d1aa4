"""Branches of one commit each, for requests of the daemon.

The commit changes one file.
"""

from __future__ import annotations

from pathlib import Path

import pygit2

from reconciler.errors import GitError, Trouble
from reconciler.git.bare import BareCopy
from reconciler.git.credentials import CredentialTable
from reconciler.git.errors import writing
from reconciler.git.recovery import rebuilding
from reconciler.git.repository import Repository
from reconciler.git.signatures import CommitSigner, write_commit
from reconciler.git.transport import DEFAULT_TIMEOUT, LARGEST_FETCH, Transport
from reconciler.types import Commit


class ForeignCommitError(GitError):
    """A branch has a commit of another author, which is not replaced."""


class UpdateBranches(Repository):
    """The branches of update requests, in a bare repository of their own.

    To be used from one thread at a time.
    """

    def __init__(
        self,
        path: Path,
        url: str,
        *,
        branch: str,
        credentials: CredentialTable,
        author_name: str,
        author_email: str,
        timeout: float = DEFAULT_TIMEOUT,
        signer: CommitSigner | None = None,
    ) -> None:
        self._copy = BareCopy(path)
        super().__init__(self._copy.repository)
        self._transport = Transport(credentials, path.parent / "home", timeout)
        self._url = url
        self._target = f"refs/heads/{branch}"
        self._author = (author_name, author_email)
        self._signer = signer

    def fetch_base(self, commit: Commit) -> None:
        """Fetch the target branch, unless the commit is here. Raises GitError."""
        if not self.has(commit):
            self._fetch(self._target)
            if not self.has(commit):
                raise GitError(f"{self._target} has no commit {commit} any more")

    def _fetch(self, ref: str) -> None:
        def fetch() -> None:
            self._copy.sweep()
            self._transport.fetch(
                self._copy.path, self._url, [f"+{ref}:{ref}"], largest=LARGEST_FETCH
            )

        rebuilding(fetch, self._copy.remake)
        self._copy.tidy()
        self._repository = self._copy.repository

    def tip(self, branch: str) -> Commit | None:
        """Look up a branch's tip at the remote.

        None where there is no such branch.

        Raises GitError.
        """
        ref = f"refs/heads/{branch}"
        found = self._transport.list_refs(self._url, [ref]).commits.get(ref)
        if found is not None and not self.has(found):
            self._fetch(ref)
        return found

    def propose(self, branch: str, base: Commit, path: str, data: bytes, message: str) -> Commit:
        """Set a branch to one commit on ``base``, and return it.

        The commit changes the content of one file.

        A branch that asks for the same already is left as it is, also where ``base`` has moved on
        without touching the file. Raises ForeignCommitError for a branch with commits of somebody
        else, and GitError.
        """
        self.fetch_base(base)
        tip = self.tip(branch)
        if tip is not None:
            self._check_author(branch, tip)
            if self._asks_for(tip, base, path, data, message):
                return tip
        commit = self._make(base, path, data, message)
        ref = f"refs/heads/{branch}"
        self._transport.replace(self._copy.path, self._url, commit, ref, expected=tip)
        return commit

    def delete(self, branch: str) -> None:
        """Delete a branch whose tip is of this author.

        No-op where there is no such branch.

        Raises ForeignCommitError and GitError.
        """
        tip = self.tip(branch)
        if tip is not None:
            self._check_author(branch, tip)
            ref = f"refs/heads/{branch}"
            self._transport.replace(self._copy.path, self._url, None, ref, expected=tip)

    def _check_author(self, branch: str, tip: Commit) -> None:
        found = self._reading(lambda: self._commit(tip))
        if (found.author.name, found.author.email) != self._author or len(found.parents) != 1:
            raise ForeignCommitError(
                f"the branch {branch} has commits of {found.author.name}", Trouble.CONFLICT
            )

    def _asks_for(self, tip: Commit, base: Commit, path: str, data: bytes, message: str) -> bool:
        """Return whether a branch makes the wanted change already.

        The file must be in its base as it is in this one.
        """
        parent = Commit(str(self._reading(lambda: self._commit(tip).parent_ids[0])))
        same = self.read_file(tip, path) == data and self._message(tip) == message
        return same and self.read_file(parent, path) == self.read_file(base, path)

    def _message(self, commit: Commit) -> str:
        return self._reading(lambda: self._commit(commit).message)

    def _make(self, base: Commit, path: str, data: bytes, message: str) -> Commit:
        with writing(self._copy.path):
            return self._reading(lambda: self._written(base, path, data, message))

    def _written(self, base: Commit, path: str, data: bytes, message: str) -> Commit:
        repository = self._repository
        index = pygit2.Index()
        index.read_tree(self._commit(base).tree)
        index.add(pygit2.IndexEntry(path, repository.create_blob(data), index[path].mode))
        tree = index.write_tree(repository)
        return write_commit(
            repository, tree, message, author=self._author, parents=[base], signer=self._signer
        )
