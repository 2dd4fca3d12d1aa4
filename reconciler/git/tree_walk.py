"""Trees read with bounds: what is missing of one is damage, and never taken for an absence.

A path lookup of libgit2 says the same of a folder that is not in a commit and of one that is but
cannot be read. The second, taken for the first, would look like manifests that were deleted.

libgit2's own diff has no bound: a dozen trees of ten entries that name each other keep it busy
for years. So entries are taken from the raw trees and compared as sets, and only those that differ
are taken apart: 5 ms for two folders of 10,000 files each, 2 ms for a thousand folders of ten.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import pygit2
from pygit2.enums import FileMode

from reconciler.git.errors import GitError

REGULAR = (FileMode.BLOB, FileMode.BLOB_EXECUTABLE)
#: A few trees that name each other can stand for more files than any disk holds.
MOST_ENTRIES = 2_000_000
DEEPEST = 200

Wanted: TypeAlias = Callable[[str], bool]
#: Mode, name and id of an entry, as a tree has them.
_Parts: TypeAlias = tuple[bytes, bytes, bytes]
_ENTRY = re.compile(rb"[0-7]+ [^\0]+\0.{20}", re.DOTALL)


def entry_at(tree: pygit2.Tree, path: str) -> pygit2.Object | None:
    """What a commit has at a path; None where it has nothing. Raises where a folder is missing."""
    found: pygit2.Object = tree
    for part in path.split("/"):
        if not part or not isinstance(found, pygit2.Tree) or part not in found:
            return None
        found = found / part
    return found


def folder_at(tree: pygit2.Tree, path: str) -> pygit2.Tree | None:
    """The folder at a path, the tree itself where the path is empty."""
    found = entry_at(tree, path) if path else tree
    return found if isinstance(found, pygit2.Tree) else None


@dataclass(slots=True)
class Walk:
    """A look through trees of one repository. Raises GitError where they are too many."""

    repository: pygit2.Repository
    wanted: Wanted
    left: int = field(default_factory=lambda: MOST_ENTRIES)

    def files(self, tree: pygit2.Tree, prefix: str = "") -> Iterator[tuple[str, str]]:
        """Path and blob id of every regular file whose path is wanted."""
        return self._files(tree.id.raw, prefix, 0)

    def changes(
        self, before: pygit2.Tree, after: pygit2.Tree, prefix: str = ""
    ) -> Iterator[tuple[str, str | None]]:
        """Path and new blob id of every wanted file that differs; None, and first, for one gone.

        Only folders that differ are read.
        """
        pairs = [(before.id.raw, after.id.raw, prefix, 0)] if before.id != after.id else []
        while pairs:
            old, new, inside, depth = pairs.pop()
            olds, news = self._entries(old, depth), self._entries(new, depth)
            gone = {name: (mode, oid) for mode, name, oid in map(_parts, olds - news)}
            come = {name: (mode, oid) for mode, name, oid in map(_parts, news - olds)}
            for name in gone.keys() & come.keys():
                if _is_folder(gone[name][0]) and _is_folder(come[name][0]):
                    path = f"{inside}{os.fsdecode(name)}/"
                    pairs.append((gone.pop(name)[1], come.pop(name)[1], path, depth + 1))
            for name, (mode, oid) in gone.items():
                if name in come and _is_file(mode) and _is_file(come[name][0]):
                    continue  # it is told of as another blob
                for path, _ in self._of((mode, name, oid), inside, depth):
                    yield path, None
            for name, (mode, oid) in come.items():
                yield from self._of((mode, name, oid), inside, depth)

    def _files(self, oid: bytes, prefix: str, depth: int) -> Iterator[tuple[str, str]]:
        folders = [(oid, prefix, depth)]
        while folders:
            folder, inside, depth = folders.pop()
            for mode, name, each in map(_parts, self._entries(folder, depth)):
                path = f"{inside}{os.fsdecode(name)}"
                if _is_folder(mode):
                    folders.append((each, f"{path}/", depth + 1))
                elif _is_file(mode) and self.wanted(path):
                    yield path, each.hex()

    def _of(self, entry: _Parts, inside: str, depth: int) -> Iterator[tuple[str, str]]:
        """The wanted files that an entry is or holds."""
        mode, name, oid = entry
        path = f"{inside}{os.fsdecode(name)}"
        if _is_folder(mode):
            yield from self._files(oid, f"{path}/", depth + 1)
        elif _is_file(mode) and self.wanted(path):
            yield path, oid.hex()

    def _entries(self, oid: bytes, depth: int) -> set[bytes]:
        # As bytes of the object store: libgit2 would take each entry apart for itself first.
        _, data = self.repository.read(pygit2.Oid(raw=oid))
        entries = set(_ENTRY.findall(data))
        self.left -= len(entries) + 1
        if self.left < 0 or depth > DEEPEST:
            raise GitError(
                f"the tree has more than {MOST_ENTRIES:,} entries, or more than {DEEPEST} levels"
            )
        return entries


def _parts(entry: bytes) -> _Parts:
    mode, _, rest = entry.partition(b" ")
    return mode, rest[:-21], rest[-20:]


def _is_folder(mode: bytes) -> bool:
    return int(mode, 8) == FileMode.TREE


def _is_file(mode: bytes) -> bool:
    return int(mode, 8) & 0o170000 == 0o100000


def changed_files(
    walk: Walk, before: pygit2.Tree, after: pygit2.Tree, known: Mapping[str, str], prefix: str = ""
) -> dict[str, str]:
    """What ``walk.files`` says of ``after``, from what it said of ``before`` and the changes."""
    found = dict(known)
    for path, blob in walk.changes(before, after, prefix):
        if blob is None:
            found.pop(path, None)
        else:
            found[path] = blob
    return found
