"""Commits, trees and blobs of a copy, or of a local clone.

There is no work tree. A commit is read by tree diff against the one read before, so the cost
is that of what changed.

What is missing of a tree is damage, and never an absence: a path lookup of libgit2 answers the same
for a folder that is not in a commit and for one that is but cannot be read. The second, taken for
the first, would look like manifests that were deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TypeVar

import pygit2
from pygit2.enums import FileMode, ObjectType, SortMode

from reconciler.errors import GitError
from reconciler.git.errors import DamagedError
from reconciler.git.export import export_tree
from reconciler.git.trees import (
    MOST_MANIFEST_FILES,
    Walk,
    Wanted,
    apply_changes,
    changed_files,
    entry_at,
    folder_at,
)
from reconciler.manifests import IGNORE_FILE, is_manifest_path
from reconciler.types import Commit, TreeId

T = TypeVar("T")

REGULAR = (FileMode.BLOB, FileMode.BLOB_EXECUTABLE)
#: Characters of a commit's subject or author that are kept.
_LONGEST_SUBJECT = 200
#: Bytes that are looked at for a line of a commit.
_LONGEST_READ = 4096
#: Bytes of the largest blob that is read; files of more than 1 MiB are no manifests anyway.
LARGEST_UNPACKED = 16 << 20
#: Bytes of all files of a commit that are read at once.
LARGEST_READ = 256 << 20


class Repository:
    """A repository that is only read.

    To be used from one thread at a time. What is there but cannot be read raises DamagedError.
    """

    def __init__(self, repository: pygit2.Repository) -> None:
        self._repository = repository

    @property
    def path(self) -> Path:
        """Return the folder of the Git directory."""
        return Path(self._repository.path)

    def has(self, commit: Commit) -> bool:
        """Return whether the commit is there, and can be read."""
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
        """List the files under ``path`` that may hold manifests, with their blobs.

        Returns path → blob id of every regular file. ``previous`` is a commit and
        the list of it: then only the difference is read. Symbolic links and submodules are not
        followed.
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
        return apply_changes({}, walk.files(tree, prefix))

    def read_blob(self, blob: str, limit: int, size: int | None = None) -> bytes:
        """Return the first ``limit`` bytes of a blob.

        A blob of more than :data:`LARGEST_UNPACKED` is not read: as many NUL bytes are returned.
        ``size`` is its :meth:`blob_size`, where known: a header costs as much as a small blob.
        """
        return self._reading(lambda: self._head(pygit2.Oid(hex=blob), limit, size))

    def read_file(self, commit: Commit, path: str, limit: int = 1 << 20) -> bytes | None:
        """Return the first ``limit`` bytes of a regular file of a commit.

        None where there is no such file. What is too large is read as by :meth:`read_blob`.
        """

        def read() -> bytes | None:
            entry = entry_at(self._commit(commit).tree, path)
            if not isinstance(entry, pygit2.Blob) or entry.filemode not in REGULAR:
                return None
            return self._head(entry.id, limit)

        return self._reading(read)

    def _head(self, oid: pygit2.Oid, limit: int, size: int | None = None) -> bytes:
        # A megabyte in a pack may stand for gigabytes, and libgit2 unpacks all of it.
        if size is None:
            size = self._blob_size(oid)
        if size > LARGEST_UNPACKED:
            return bytes(min(limit, size))
        blob = self._repository[oid]
        assert isinstance(blob, pygit2.Blob)
        return blob.data[:limit]

    def blob_size(self, blob: str) -> int:
        """Return the bytes of a blob, without reading it."""
        return self._reading(lambda: self._blob_size(pygit2.Oid(hex=blob)))

    def _blob_size(self, oid: pygit2.Oid) -> int:
        kind, size = self._repository.odb.read_header(oid)
        if kind is not ObjectType.BLOB:
            raise GitError(f"{oid} is no blob")
        return int(size)

    def read_all(
        self, commit: Commit, wanted: Wanted = lambda _: True
    ) -> Iterator[tuple[str, bytes | None]]:
        """Yield the path and content of every regular file that is wanted.

        A file beyond :data:`LARGEST_UNPACKED` has None. So have the largest ones, where all have
        more than :data:`LARGEST_READ` or are more than :data:`MOST_MANIFEST_FILES`.
        """

        def sized() -> list[tuple[str, str, int]]:
            header = self._repository.odb.read_header
            files = Walk(self._repository, wanted).files(self._commit(commit).tree)
            return [(path, blob, header(pygit2.Oid(hex=blob))[1]) for path, blob in files]

        found = self._reading(sized)
        if len(found) > MOST_MANIFEST_FILES or sum(size for *_, size in found) > LARGEST_READ:
            found.sort(key=lambda file: file[2])
        left = LARGEST_READ
        for number, (path, blob, size) in enumerate(found):
            left -= size
            beyond = size > LARGEST_UNPACKED or left < 0 or number >= MOST_MANIFEST_FILES
            yield path, None if beyond else self.read_blob(blob, LARGEST_UNPACKED, size)

    def tree_id(self, commit: Commit, path: str) -> TreeId | None:
        """Return the tree id of a folder in a commit, or None."""

        def read() -> TreeId | None:
            tree = folder_at(self._commit(commit).tree, path)
            return TreeId(str(tree.id)) if tree is not None else None

        return self._reading(read)

    def export_tree(self, tree: TreeId, destination: Path) -> None:
        """Write a tree's files into a new or empty folder. Raises GitError."""
        export_tree(self._repository, tree, destination)

    def committed(self, commit: Commit) -> datetime:
        """Return the committer's date of a commit."""
        at = self._reading(lambda: self._commit(commit).commit_time)
        return datetime.fromtimestamp(at, UTC)

    def subject(self, commit: Commit) -> str:
        """Return the first line of a commit's message, cut. Raises GitError."""

        def read() -> str:
            found = self._commit(commit)
            lines = _decoded(found, found.raw_message).strip().splitlines()
            return lines[0][:_LONGEST_SUBJECT] if lines else ""

        return self._reading(read)

    def author(self, commit: Commit) -> str:
        """Return the name of a commit's author, cut. Raises GitError."""

        def read() -> str:
            found = self._commit(commit)
            return _decoded(found, found.author.raw_name)[:_LONGEST_SUBJECT]

        return self._reading(read)

    def last_changed(
        self, commit: Commit, paths: Collection[str], *, limit: int = 2000
    ) -> dict[str, Commit]:
        """Return the commit that last changed each path.

        Reads at most ``limit`` commits. A path that none of them changed gets the oldest of them.
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

    def changed_paths(self, before: Commit | None, after: Commit, wanted: Wanted) -> list[str]:
        """List the wanted paths that differ between two commits, sorted.

        Links and submodules count as well as files. None stands for an empty tree.
        """

        def read() -> list[str]:
            walk = Walk(self._repository, wanted, links=True)
            tree = self._commit(after).tree
            if before is None:
                return sorted(path for path, _ in walk.files(tree))
            return sorted({path for path, _ in walk.changes(self._commit(before).tree, tree)})

        return self._reading(read)

    def _changed(self, commit: pygit2.Commit, paths: Collection[str]) -> set[str]:
        """Return the paths that differ from every parent.

        A merge changes a path where its content is neither side's.
        """
        changed = set(paths)
        if not commit.parents:
            walk = Walk(self._repository, changed.__contains__)
            return {path for path, _ in walk.files(commit.tree)}
        for parent in commit.parents:
            walk = Walk(self._repository, changed.__contains__)
            changed = {path for path, _ in walk.changes(parent.tree, commit.tree)}
        return changed

    def history(
        self,
        commit: Commit,
        *,
        without: Commit | None = None,
        first_parents: bool = False,
        limit: int,
    ) -> list[Commit]:
        """List a commit and those before it, at most ``limit``, newest first.

        Without the history of another commit, if given.
        """

        def read() -> list[Commit]:
            walker = self._repository.walk(commit, SortMode.TOPOLOGICAL)
            if without is not None:
                walker.hide(without)
            if first_parents:
                walker.simplify_first_parent()
            return [Commit(str(each.id)) for each in islice(walker, limit)]

        return self._reading(read)

    def shallow_in(self, head: Commit, without: Commit | None = None) -> Commit | None:
        """Return a commit at which a shallow history ends, or None.

        Looks at the history of a head, without that of another commit, if given.
        """

        def read() -> Commit | None:
            try:
                text = (self.git_directory / "shallow").read_text()
            except FileNotFoundError:
                return None
            ends = [Commit(line) for line in text.split() if self._is_before(line, head)]
            if without is not None:
                ends = [end for end in ends if not self._is_before(end, without)]
            return next(iter(ends), None)

        return self._reading(read)

    def _is_before(self, commit: str, head: Commit) -> bool:
        return commit == head or (
            self.has(Commit(commit)) and self._repository.descendant_of(head, commit)
        )

    @property
    def git_directory(self) -> Path:
        """The folder with the objects and refs."""
        return Path(self._repository.path)

    def _commit(self, commit: Commit) -> pygit2.Commit:
        found = self._repository.get(commit)
        if not isinstance(found, pygit2.Commit):
            raise GitError(f"the repository has no commit {commit}")
        return found

    def _reading(self, read: Callable[[], T]) -> T:
        """Run a read; turn libgit2's errors into DamagedError.

        libgit2 raises KeyError for an object that is missing.
        """
        try:
            return read()
        except (KeyError, pygit2.GitError) as error:
            raise DamagedError(f"{self.path} is damaged: {error}") from error


def _decoded(commit: pygit2.Commit, text: bytes) -> str:
    """Decode the beginning of a commit's text by its named encoding.

    That may be one that there is not, or that is none of texts; then, as without one, it is UTF-8.
    No surrogates are left, which nothing could print.
    """
    text = text[:_LONGEST_READ]
    try:
        found = text.decode(commit.message_encoding or "utf-8", errors="replace")
    except (LookupError, ValueError):
        found = text.decode(errors="replace")
    return found.encode(errors="replace").decode()


def _is_manifest(path: str) -> bool:
    return is_manifest_path(path) or path.rpartition("/")[2] == IGNORE_FILE
