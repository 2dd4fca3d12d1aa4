"""Trees of a repository: look-ups, lists and comparisons, with bounds.

libgit2's own diff has no bounds: a dozen trees of ten entries that name each other keep it busy for
years. So entries are taken from the raw trees and compared as sets, and only those that differ are
taken apart: 5 ms for two folders of 10,000 files each, 2 ms for a thousand folders of ten.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import pygit2
from pygit2.enums import FileMode

from reconciler.errors import GitError

#: A few trees that name each other can stand for more files than any disk holds.
MOST_ENTRIES = 2_000_000
DEEPEST = 200
#: Files of a commit that may hold manifests.
MOST_MANIFEST_FILES = 200_000

Wanted: TypeAlias = Callable[[str], bool]
#: Mode, name and id of an entry, as a tree has them.
_Parts: TypeAlias = tuple[bytes, bytes, bytes]
_ENTRY = re.compile(rb"[0-7]+ [^\0]+\0.{20}", re.DOTALL)


def entry_at(tree: pygit2.Tree, path: str) -> pygit2.Object | None:
    """Return the object at a path, or None.

    Raises KeyError where a folder is in the commit but missing from the object store.
    """
    found: pygit2.Object = tree
    for part in path.split("/"):
        if not part or not isinstance(found, pygit2.Tree) or part not in found:
            return None
        found = found / part
    return found


def folder_at(tree: pygit2.Tree, path: str) -> pygit2.Tree | None:
    """Return the folder at a path; the tree for an empty path."""
    found = entry_at(tree, path) if path else tree
    return found if isinstance(found, pygit2.Tree) else None


@dataclass(slots=True)
class Walk:
    """A bounded walk through trees of one repository.

    ``wanted`` selects files by path. With ``links``, symbolic links and submodules are files, too.
    Raises GitError where the trees have too many entries.
    """

    repository: pygit2.Repository
    wanted: Wanted
    links: bool = False
    left: int = field(default_factory=lambda: MOST_ENTRIES)

    def files(self, tree: pygit2.Tree, prefix: str = "") -> Iterator[tuple[str, str]]:
        """Yield path and blob id of every regular file that is wanted."""
        return self._files(tree.id.raw, prefix, 0)

    def changes(
        self, before: pygit2.Tree, after: pygit2.Tree, prefix: str = ""
    ) -> Iterator[tuple[str, str | None]]:
        """Yield path and new blob id of every wanted file that differs.

        A file that was removed has None, and comes before the others of its folder. Only folders
        that differ are read.
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
                if name in come and self._is_file(mode) and self._is_file(come[name][0]):
                    continue  # yielded below, with its new blob
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
                elif self._is_file(mode) and self.wanted(path):
                    yield path, each.hex()

    def _of(self, entry: _Parts, inside: str, depth: int) -> Iterator[tuple[str, str]]:
        """Yield the wanted files that an entry is or holds."""
        mode, name, oid = entry
        path = f"{inside}{os.fsdecode(name)}"
        if _is_folder(mode):
            yield from self._files(oid, f"{path}/", depth + 1)
        elif self._is_file(mode) and self.wanted(path):
            yield path, oid.hex()

    def _is_file(self, mode: bytes) -> bool:
        return _is_regular(mode) or (self.links and not _is_folder(mode))

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


def _is_regular(mode: bytes) -> bool:
    return int(mode, 8) & 0o170000 == 0o100000


def changed_files(
    walk: Walk, before: pygit2.Tree, after: pygit2.Tree, known: Mapping[str, str], prefix: str = ""
) -> dict[str, str]:
    """Update the list of files of ``before`` to that of ``after``.

    ``known`` is the list of ``before``. The result is that of ``walk.files``, at the cost
    of the difference.
    """
    return apply_changes(dict(known), walk.changes(before, after, prefix))


def apply_changes(
    found: dict[str, str], changes: Iterable[tuple[str, str | None]]
) -> dict[str, str]:
    """Apply changes to a list of files.

    Raises GitError for a list that becomes too long.
    """
    for path, blob in changes:
        if blob is None:
            found.pop(path, None)
        else:
            found[path] = blob
        if len(found) > MOST_MANIFEST_FILES:
            raise GitError(f"the commit has more than {MOST_MANIFEST_FILES:,} manifest files")
    return found
