"""A tree written to a folder, as a build sees it. The tree is untrusted, the folder is ours."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from pathlib import Path

import pygit2
from pygit2.enums import FileMode

from reconciler.git.errors import GitError
from reconciler.types import TreeId

#: A build context larger than this is an error.
LARGEST_CONTEXT = 2 << 30
_FORBIDDEN = {"", ".", "..", ".git"}


@dataclass(slots=True)
class _Budget:
    left: int

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise GitError(f"the build context is larger than {LARGEST_CONTEXT >> 30} GiB")


def export_tree(
    repository: pygit2.Repository,
    tree: TreeId,
    destination: Path,
    *,
    largest: int = LARGEST_CONTEXT,
) -> None:
    """Write a tree's files, with their execute bits, into a folder that is new or empty.

    A symbolic link is written if it stays inside the tree; a submodule is an empty folder.
    Raises GitError for anything that would reach outside.
    """
    root = repository.get(tree)
    if not isinstance(root, pygit2.Tree):
        raise GitError(f"the repository has no tree {tree}")
    destination.mkdir(parents=True, exist_ok=True)
    _write(root, destination, "", _Budget(largest))


def _write(tree: pygit2.Tree, folder: Path, inside: str, budget: _Budget) -> None:
    for entry in tree:
        name = entry.name or ""
        if name.lower() in _FORBIDDEN or "/" in name or "\\" in name:
            raise GitError(f"the tree has an entry {name!r}, which cannot be written")
        path, place = folder / name, posixpath.join(inside, name)
        if isinstance(entry, pygit2.Tree):
            path.mkdir()
            _write(entry, path, place, budget)
        elif entry.filemode == FileMode.LINK:
            path.symlink_to(_link_target(entry, inside, place))
        elif isinstance(entry, pygit2.Blob):
            budget.spend(entry.size)
            path.write_bytes(entry.data)
            path.chmod(0o755 if entry.filemode == FileMode.BLOB_EXECUTABLE else 0o644)
        else:
            path.mkdir()


def _link_target(entry: pygit2.Object, inside: str, place: str) -> str:
    assert isinstance(entry, pygit2.Blob)
    target = entry.data.decode("utf-8", "surrogateescape")
    reached = posixpath.normpath(posixpath.join(inside, target))
    if target.startswith("/") or reached == ".." or reached.startswith("../"):
        raise GitError(f"the symbolic link {place} leads out of the build context")
    return target
