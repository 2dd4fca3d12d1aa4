"""Trees read with bounds: what is missing of one is damage, and never taken for an absence.

A path lookup of libgit2 says the same of a folder that is not in a commit and of one that is but
cannot be read. The second, taken for the first, would look like manifests that were deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pygit2
from pygit2.enums import FileMode

from reconciler.git.errors import GitError

REGULAR = (FileMode.BLOB, FileMode.BLOB_EXECUTABLE)
#: A few trees that name each other can stand for more files than any disk holds.
MOST_ENTRIES = 2_000_000
DEEPEST = 200


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


def files(
    tree: pygit2.Tree, wanted: Callable[[str], bool], prefix: str = ""
) -> Iterator[tuple[str, str]]:
    """Path and blob id of every regular file whose path is wanted. Raises GitError if too many."""
    left = MOST_ENTRIES
    folders = [(tree, prefix, 0)]
    while folders:
        folder, inside, depth = folders.pop()
        left -= len(folder) + 1
        if left < 0 or depth > DEEPEST:
            raise GitError(
                f"the tree has more than {MOST_ENTRIES:,} entries, or more than {DEEPEST} levels"
            )
        for entry in folder:
            path = f"{inside}{entry.name or ''}"
            if isinstance(entry, pygit2.Tree):
                folders.append((entry, f"{path}/", depth + 1))
            elif entry.filemode in REGULAR and wanted(path):
                yield path, str(entry.id)


def changed_files(
    before: pygit2.Tree,
    after: pygit2.Tree,
    known: Mapping[str, str],
    wanted: Callable[[str], bool],
    prefix: str = "",
) -> dict[str, str]:
    """What :func:`files` says of ``after``, from what it said of ``before`` and the difference."""
    found = dict(known)
    if before.id == after.id:
        return found
    deltas = list(before.diff_to_tree(after).deltas)
    for delta in deltas:
        found.pop(prefix + delta.old_file.path, None)
    for delta in deltas:
        new = delta.new_file
        path = prefix + new.path
        if delta.status_char() != "D" and new.mode in REGULAR and wanted(path):
            found[path] = str(new.id)
    return found
