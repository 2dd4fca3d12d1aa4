"""Export of an untrusted tree to a folder, as a build context."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pygit2
from pygit2.enums import FileMode

from reconciler.errors import GitError
from reconciler.git.errors import DamagedError, SourceFaultError
from reconciler.types import TreeId

#: A build context with more bytes, or more files and folders, than this is an error.
LARGEST_CONTEXT = 2 << 30
LARGEST_CONTEXT_FILE = 256 << 20
MOST_ENTRIES = 500_000
DEEPEST = 200
_FORBIDDEN = {"", ".", "..", ".git"}


@dataclass(slots=True)
class Budget:
    """The bytes and entries left for a context with its submodules."""

    bytes: int = LARGEST_CONTEXT
    entries: int = MOST_ENTRIES

    def spend(self, size: int) -> None:
        """Count one entry of ``size`` bytes.

        Raises SourceFaultError where the budget is spent.
        """
        self.bytes -= size
        self.entries -= 1
        if self.bytes < 0:
            raise SourceFaultError(f"the build context is larger than {LARGEST_CONTEXT >> 30} GiB")
        if self.entries < 0:
            raise SourceFaultError(
                f"the build context has more than {MOST_ENTRIES:,} files and folders"
            )


def export_tree(
    repository: pygit2.Repository,
    tree: TreeId,
    destination: Path,
    *,
    budget: Budget | None = None,
) -> None:
    """Write a tree's files into a folder that is new or empty.

    Execute bits are kept. A symbolic link is written as it is, wherever it leads, and never
    followed; a submodule is an empty folder. Raises SourceFaultError for a tree that cannot be
    written, GitError and DamagedError.
    """
    root = repository.get(tree)
    if not isinstance(root, pygit2.Tree):
        raise GitError(f"the repository has no tree {tree}")
    destination.mkdir(parents=True, exist_ok=True)
    try:
        _Export(repository, budget or Budget()).write(root, destination, ())
    except (KeyError, pygit2.GitError) as error:
        shutil.rmtree(destination, ignore_errors=True)  # so that it can be tried again
        raise DamagedError(f"{repository.path} is damaged: {error}") from error
    except FileExistsError as error:
        name = Path(error.filename or "").name
        raise SourceFaultError(f"the tree has two entries that are both called {name!r}") from error


@dataclass(frozen=True, slots=True)
class _Export:
    """One export, with what is left of its budget."""

    repository: pygit2.Repository
    budget: Budget

    def write(self, tree: pygit2.Tree, folder: Path, inside: tuple[str, ...]) -> None:
        if len(inside) > DEEPEST:
            raise SourceFaultError(f"the build context is deeper than {DEEPEST} folders")
        for entry in tree:
            name = entry.name or ""
            if name.lower() in _FORBIDDEN or "/" in name or "\\" in name or "\0" in name:
                raise SourceFaultError(f"the tree has an entry {name!r}, which cannot be written")
            path, place = folder / name, (*inside, name)
            if isinstance(entry, pygit2.Tree):
                self.budget.spend(0)
                path.mkdir()
                self.write(entry, path, place)
            elif entry.filemode == FileMode.LINK:
                self.budget.spend(0)
                path.symlink_to(_link_target(entry, place))
            elif isinstance(entry, pygit2.Blob):
                self.budget.spend(self._size(entry))
                mode = 0o755 if entry.filemode == FileMode.BLOB_EXECUTABLE else 0o644
                _write_file(path, entry.data, mode)
            else:
                self.budget.spend(0)
                path.mkdir()

    def _size(self, blob: pygit2.Blob) -> int:
        # Before it is unpacked: a megabyte in a pack may stand for gigabytes.
        size: int = self.repository.odb.read_header(blob.id)[1]
        if size > LARGEST_CONTEXT_FILE:
            most = LARGEST_CONTEXT_FILE >> 20
            raise SourceFaultError(f"a file of the build context is larger than {most} MiB")
        return size


def _write_file(path: Path, data: bytes, mode: int) -> None:
    """Write a new file, never through a symbolic link.

    A tree may have the same name twice: as a link, and as a file.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        os.fchmod(file.fileno(), mode)


def _link_target(entry: pygit2.Object, place: tuple[str, ...]) -> str:
    """Return a link's target. Raises SourceFaultError for an impossible one."""
    assert isinstance(entry, pygit2.Blob)
    target = os.fsdecode(entry.data)
    if not target or "\0" in target:
        raise SourceFaultError(f"the symbolic link {'/'.join(place)} has no usable target")
    return target
