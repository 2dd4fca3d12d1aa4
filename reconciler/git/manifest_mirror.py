"""The mirror of the manifest repository, made anew where it is damaged."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from reconciler.backoff import Backoff
from reconciler.errors import GitError
from reconciler.git.bare import BareCopy
from reconciler.git.command import LateError
from reconciler.git.credentials import CredentialTable
from reconciler.git.errors import DamagedError
from reconciler.git.export import export_tree
from reconciler.git.recovery import rebuilding
from reconciler.git.repository import Repository
from reconciler.git.transport import DEFAULT_TIMEOUT, Transport
from reconciler.types import Commit, TreeId
from reconciler.urls import redact

T = TypeVar("T")

#: How many times as long as usual a fetch of the manifest repository may take.
PATIENCE = Backoff(first=1.0, longest=16.0)


class Mirror(Repository):
    """A bare mirror of one branch and of a few others' tips.

    It is a copy: where it is found damaged it is made anew, and read again. Safe to use from
    several threads: one at a time uses the handle, and each export has a handle of its own.
    """

    def __init__(
        self,
        copy: BareCopy,
        *,
        url: str,
        branch: str,
        others: Sequence[str],
        transport: Transport,
    ) -> None:
        super().__init__(copy.repository)
        self._copy = copy
        self._lock = threading.RLock()
        self._remakes = 0
        self._url = url
        self._branch = branch
        self._others = {other: f"refs/heads/{other}" for other in others}
        self._seen: Mapping[str, Commit] = {}
        self._transport = transport
        self._late = 0

    @classmethod
    def open(
        cls,
        path: Path,
        url: str,
        *,
        branch: str,
        others: Sequence[str] = (),
        credentials: CredentialTable,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Mirror:
        """Open the mirror at a path, or make it.

        A mirror that cannot be opened is made anew. ``others`` are branches of which only the tip
        is read.
        """
        transport = Transport(credentials, path.parent / "home", timeout)
        return cls(BareCopy(path), url=url, branch=branch, others=others, transport=transport)

    def fetch(self) -> Commit:
        """Fetch the branch and return its head.

        Where nothing is new this costs one look-up of refs. Raises GitError.
        """
        with self._lock:
            return rebuilding(self._fetch, self._remake)

    def _fetch(self) -> Commit:
        ref = f"refs/heads/{self._branch}"
        refs = [ref, *self._others.values()]
        self._seen = self._transport.list_refs(self._url, refs).commits
        head = self._seen.get(ref)
        if head is None:
            raise GitError(self._no_branch(self._transport.list_refs(self._url).commits))
        if self._copy.ref(ref) != head or not self.has(head):
            self._copy.sweep()
            self._fetch_branch(f"+{ref}:{ref}")
            head = Commit(self._copy.ref(ref) or head)  # it may have moved in between
            if not self.has(head):
                raise DamagedError(f"{self._copy.path} has not got {head}, which was fetched")
            self._settle()
            if self.shallow_in(head):
                # A tip of another branch was fetched alone, and is now in this one.
                self._fetch_branch(f"+{ref}:{ref}", depth=0)
                self._settle()
        return head

    def _fetch_branch(self, refspec: str, depth: int | None = None) -> None:
        """Fetch the branch, with twice the time after a late fetch.

        A fetch that is ended begins anew the next time.
        """
        patience = PATIENCE.delay(self._late + 1, fraction=0.0)
        try:
            path = self._copy.path
            self._transport.fetch(path, self._url, [refspec], depth=depth, patience=patience)
        except LateError:
            self._late += 1
            raise
        self._late = 0

    def fetch_tips(self) -> dict[str, Commit | None]:
        """Return the other branches' tips as of the last :meth:`fetch`.

        None stands for a branch that is missing. Calls the remote only for the files of branches
        that have moved. Raises GitError.
        """
        with self._lock:
            return self._fetch_tips()

    def _fetch_tips(self) -> dict[str, Commit | None]:
        tips = {other: self._seen.get(ref) for other, ref in self._others.items()}
        refs = [
            ref
            for other, ref in self._others.items()
            if (tip := tips[other]) is not None
            and (self._copy.ref(ref) != tip or not self.has(tip))
        ]
        if refs:
            self._copy.sweep()
            # What is fetched with a depth ends the history there, also that of the branch: whoever
            # moves another branch to one of its commits would hide those before from a check.
            known = [ref for ref in refs if self.has(self._seen[ref])]
            for some, depth in (([ref for ref in refs if ref not in known], 1), (known, None)):
                if some:
                    refspecs = [f"+{ref}:{ref}" for ref in some]
                    self._transport.fetch(self._copy.path, self._url, refspecs, depth=depth)
            self._settle()
        # One may have moved on, or gone, in between: what is here is what can be read.
        return {
            other: Commit(self._copy.ref(ref) or tip) if (tip := tips[other]) is not None else None
            for other, ref in self._others.items()
        }

    def has(self, commit: Commit) -> bool:
        """Return whether the commit is there, and can be read."""
        with self._lock:
            return super().has(commit)

    def _settle(self) -> None:
        if not self._copy.tidy():
            self._copy.reopen()  # libgit2 reads only once where a shallow repository ends
        self._repository = self._copy.repository

    def _remake(self) -> None:
        self._copy.remake()
        self._repository = self._copy.repository
        self._remakes += 1

    def _refetch(self) -> None:
        self._remake()
        self._fetch()

    def export_tree(self, tree: TreeId, destination: Path) -> None:
        """Write a tree's files into a folder; safe from any thread.

        The export has a handle of its own. A fetch may pack what that handle was about to read, so
        the first failure is no damage yet. Raises GitError.
        """
        export = partial(self._export, tree, destination)
        rebuilding(export, partial(self._refetch_once, self._remakes), tries=2)

    def _refetch_once(self, remakes: int) -> None:
        """Make the mirror anew, unless another thread has done so since."""
        with self._lock:
            if self._remakes == remakes:
                self._refetch()

    def _export(self, tree: TreeId, destination: Path) -> None:
        copy = BareCopy(self._copy.path)
        try:
            export_tree(copy.repository, tree, destination)
        finally:
            copy.close()

    def _reading(self, read: Callable[[], T]) -> T:
        with self._lock:
            return rebuilding(partial(super()._reading, read), self._refetch)

    def _no_branch(self, commits: Mapping[str, Commit]) -> str:
        prefix = "refs/heads/"
        names = sorted(name.removeprefix(prefix) for name in commits if name.startswith(prefix))
        have = f"it has {', '.join(names[:5])}" if names else "it is empty"
        return f"{redact(self._url)} has no branch {self._branch}; {have}"
