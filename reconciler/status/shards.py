"""Folders of the status branch that are divided into shards.

Git writes a folder anew, whole, when one file of it changes: some 45 bytes for each of its files.
A folder of ten thousand would cost every push 430 KiB. Up to :data:`MOST_FILES` a folder is flat,
as people read it most easily; beyond, it has up to 256 shards, and stays divided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from reconciler.planner import object_of_path, sharded_path

#: Files of a folder without shards.
MOST_FILES = 1_000


class Shards:
    """The divided folders of one status branch.

    Paths are those of folders without shards, but for what :meth:`learn` takes and :meth:`placed`
    returns.
    """

    def __init__(self) -> None:
        self._divided: set[str] = set()

    def learn(self, path: str) -> None:
        """Note the folder of a file in a shard as divided."""
        above, _, file = path.rpartition("/")
        folder = above.rpartition("/")[0]
        if object_of_path(path) is not None and sharded_path(f"{folder}/{file}") == path:
            self._divided.add(folder)

    def divide(self, paths: Iterable[str]) -> frozenset[str]:
        """Divide folders that became too large; return their files' paths.

        ``paths`` are those of all files, each of which has to be written again.
        """
        paths = list(paths)
        counts = Counter(map(_folder, paths))
        full = {f for f, count in counts.items() if count > MOST_FILES} - self._divided
        self._divided |= full
        return frozenset(path for path in paths if full and _folder(path) in full)

    def place(self, path: str) -> str:
        """Return the path of a file where it is on the branch."""
        return sharded_path(path) if _folder(path) in self._divided else path

    def placed(self, changes: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
        """Return changes by their paths on the branch.

        What a divided folder had outside of its shards is deleted with its change.
        """
        outside: dict[str, bytes | None] = {
            path: None for path in changes if _folder(path) in self._divided
        }
        return outside | {self.place(path): data for path, data in changes.items()}


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
