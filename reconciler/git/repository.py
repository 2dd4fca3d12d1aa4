"""Repositories that are read: commits, trees and blobs, of ours or of a clone on this disk.

There is no work tree. A commit is read by tree diff against the one read before, so the cost
is that of what changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TypeVar

import pygit2
from pygit2.enums import SortMode

from reconciler.git.errors import DamagedError, GitError
from reconciler.git.export import export_tree
from reconciler.git.tree_walk import REGULAR, Walk, changed_files, entry_at, folder_at
from reconciler.manifests import IGNORE_FILE, is_manifest_path
from reconciler.types import Commit, TreeId

T = TypeVar("T")


class Repository:
    """Reads commits, trees and blobs. Safe to use from one thread at a time.

    What is there but cannot be read raises DamagedError.
    """

    def __init__(self, repository: pygit2.Repository) -> None:
        self._repository = repository

    @property
    def path(self) -> Path:
        """The folder that the objects are in."""
        return Path(self._repository.path)

    def has(self, commit: Commit) -> bool:
        """Whether the commit is there, and can be read."""
        try:
            return isinstance(self._repository.get(commit), pygit2.Commit)
        except (ValueError, pygit2.GitError):
            return False

    def list_manifests(
        self,
        commit: Commit,
        path: str = "",
        previous: tuple[Commit, Mapping[str, str]] | None = None,
    ) -> dict[str, str]:
        """Path → blob id of every regular file under ``path`` that may hold manifests.

        ``previous`` is a commit and what this returned for it: then only the difference is
        read. Symbolic links and submodules are not followed.
        """
        return self._reading(lambda: self._list_manifests(commit, path, previous))

    def _list_manifests(
        self, commit: Commit, path: str, previous: tuple[Commit, Mapping[str, str]] | None
    ) -> dict[str, str]:
        tree = folder_at(self._commit(commit).tree, path)
        if tree is None:
            return {}
        prefix = f"{path}/" if path else ""
        walk = Walk(self._repository, _is_manifest)
        if previous is not None and self.has(previous[0]):
            before = folder_at(self._commit(previous[0]).tree, path)
            if before is not None:
                return changed_files(walk, before, tree, previous[1], prefix)
        return dict(walk.files(tree, prefix))

    def read_blob(self, blob: str, limit: int) -> bytes:
        """At most the first ``limit`` bytes of a blob."""

        def read() -> bytes:
            found = self._repository[blob]
            if not isinstance(found, pygit2.Blob):
                raise GitError(f"{blob} is no blob")
            return found.data[:limit]

        return self._reading(read)

    def read_file(self, commit: Commit, path: str, limit: int = 1 << 20) -> bytes | None:
        """At most the first ``limit`` bytes of a regular file of a commit, if it is there."""

        def read() -> bytes | None:
            entry = entry_at(self._commit(commit).tree, path)
            if not isinstance(entry, pygit2.Blob) or entry.filemode not in REGULAR:
                return None
            return entry.data[:limit]

        return self._reading(read)

    def read_all(self, commit: Commit) -> Iterator[tuple[str, bytes]]:
        """Every regular file of a commit."""

        def every() -> Walk:
            return Walk(self._repository, lambda _: True)

        found = self._reading(lambda: list(every().files(self._commit(commit).tree)))
        for path, blob in found:
            yield path, self.read_blob(blob, 1 << 30)

    def tree_id(self, commit: Commit, path: str) -> TreeId | None:
        """The tree id of a folder in a commit; None where there is no such folder."""

        def read() -> TreeId | None:
            tree = folder_at(self._commit(commit).tree, path)
            return TreeId(str(tree.id)) if tree is not None else None

        return self._reading(read)

    def export_tree(self, tree: TreeId, destination: Path) -> None:
        """Write a tree's files into a folder. Raises GitError."""
        export_tree(self._repository, tree, destination)

    def last_changed(
        self, commit: Commit, paths: Collection[str], *, limit: int = 2000
    ) -> dict[str, Commit]:
        """The commit that last changed each path, looking back over at most ``limit`` commits.

        What has not changed in all of those gets the oldest one looked at.
        """
        return self._reading(lambda: self._last_changed(commit, paths, limit))

    def _last_changed(
        self, commit: Commit, paths: Collection[str], limit: int
    ) -> dict[str, Commit]:
        found: dict[str, Commit] = {}
        missing = set(paths)
        oldest = commit
        walker = self._repository.walk(commit, SortMode.TOPOLOGICAL | SortMode.TIME)
        for number, each in enumerate(walker):
            if not missing or number >= limit:
                break
            oldest = Commit(str(each.id))
            changed = self._changed(each, missing)
            found |= dict.fromkeys(changed, oldest)
            missing -= changed
        return found | dict.fromkeys(missing, oldest)

    def _changed(self, commit: pygit2.Commit, paths: Collection[str]) -> set[str]:
        """The paths that differ from every parent: a merge changes what neither side had so."""
        changed = set(paths)
        if not commit.parents:
            walk = Walk(self._repository, changed.__contains__)
            return {path for path, _ in walk.files(commit.tree)}
        for parent in commit.parents:
            walk = Walk(self._repository, changed.__contains__)
            changed = {path for path, _ in walk.changes(parent.tree, commit.tree)}
        return changed

    def _commit(self, commit: Commit) -> pygit2.Commit:
        found = self._repository.get(commit)
        if not isinstance(found, pygit2.Commit):
            raise GitError(f"the repository has no commit {commit}")
        return found

    def _reading(self, read: Callable[[], T]) -> T:
        """Read something; libgit2 says KeyError of an object that is missing."""
        try:
            return read()
        except (KeyError, pygit2.GitError) as error:
            raise DamagedError(f"{self.path} is damaged: {error}") from error


def _is_manifest(path: str) -> bool:
    return is_manifest_path(path) or path.rpartition("/")[2] == IGNORE_FILE


class LocalRepository(Repository):
    """A clone on this disk, as ``plan`` and ``status`` read it. Nothing in it is changed."""

    @classmethod
    def open(cls, folder: Path) -> LocalRepository:
        """Open the repository that a folder is in. Raises GitError."""
        found = pygit2.discover_repository(str(folder)) if folder.is_dir() else None
        if found is None:
            raise GitError(f"{folder} is not in a Git repository")
        try:
            return cls(pygit2.Repository(found))
        except pygit2.GitError as error:
            raise GitError(f"{folder} cannot be read as a Git repository: {error}") from error

    @property
    def work_tree(self) -> Path | None:
        """The folder that is checked out; None of a bare repository."""
        folder = self._repository.workdir
        return Path(folder) if folder else None

    def ignores(self, file: Path) -> bool:
        """Whether Git leaves a file or folder of the work tree out of commits."""
        root = self._root
        if root is None or not file.is_relative_to(root) or file == root:
            return False
        path = file.relative_to(root).as_posix()
        # What was added all the same is in the index, and stays there.
        return self._repository.path_is_ignored(path) and path not in self._added

    @cached_property
    def _root(self) -> Path | None:
        """The work tree, without symbolic links."""
        root = self.work_tree
        return root.resolve() if root is not None else None

    @cached_property
    def _added(self) -> frozenset[str]:
        """The files of the index, and their folders."""
        files = [PurePosixPath(entry.path) for entry in self._repository.index]
        return frozenset(str(path) for file in files for path in (file, *file.parents))

    def resolve(self, rev: str) -> Commit:
        """The commit that a revision names. Raises GitError."""
        try:
            found = self._repository.revparse_single(rev)
            return Commit(str(found.peel(pygit2.Commit).id))
        except (KeyError, ValueError, pygit2.GitError) as error:
            raise GitError(
                f"there is no commit {rev} in {self.path}; is the clone deep enough?"
            ) from error

    def status_branch(self, branch: str) -> Commit | None:
        """The branch's tip: as last fetched, else the local one, else None."""
        remotes = sorted((r.name or "" for r in self._repository.remotes), key=_origin_first)
        names = [f"refs/remotes/{remote}/{branch}" for remote in remotes]
        for name in (*names, f"refs/heads/{branch}"):
            if name in self._repository.references:
                commit = self._repository.references[name].peel(pygit2.Commit)
                return Commit(str(commit.id))
        return None

    def remote_url(self) -> str | None:
        """The URL of ``origin``, or of the first remote there is."""
        remotes = sorted(self._repository.remotes, key=lambda r: _origin_first(r.name or ""))
        return remotes[0].url if remotes else None


def _origin_first(name: str) -> tuple[bool, str]:
    return name != "origin", name
