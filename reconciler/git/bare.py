"""Bare copies of remotes, which may be made anew at any time.

Each fetch leaves a pack and each commit a few loose objects, so every so often they are packed
together. Nothing is ever dropped: status files name commits that a force-push has taken off
their branch.
"""

from __future__ import annotations

import gc
import shutil
from pathlib import Path

import pygit2

from reconciler.git.command import environment, run_git
from reconciler.git.errors import DamagedError, writing

#: Beyond these a repository is packed. libgit2 opens every pack, and Git slows down likewise.
MOST_PACKS = 20
MOST_LOOSE = 1000
_SAMPLE = 8
_PACKING_TIMEOUT = 900.0


class BareCopy:
    """A bare repository at ``path``, made where there is none.

    ``repository`` is replaced by some methods, so callers read it anew at each use.
    Raises GitError where the disk does not let it be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        with writing(self.path):
            self.repository = self._open()

    def _open(self) -> pygit2.Repository:
        """Open the repository; make it where it cannot be opened."""
        if self.path.exists():
            try:
                found = pygit2.Repository(str(self.path))
            except pygit2.GitError:
                shutil.rmtree(self.path)
            else:
                if found.is_bare and (self.path / "objects").is_dir():
                    return found
                shutil.rmtree(self.path)
        return self._make()

    def _make(self) -> pygit2.Repository:
        """Make the repository.

        It is made beside its place and moved there, so that half of one is never found.
        """
        new = self.path.with_name(f"{self.path.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.parent.mkdir(parents=True, exist_ok=True)
        pygit2.init_repository(str(new), bare=True)
        shutil.rmtree(new / "hooks", ignore_errors=True)
        new.rename(self.path)
        return pygit2.Repository(str(self.path))

    def remake(self) -> None:
        """Remove the repository and begin with an empty one.

        libgit2 keeps open packs by their names for the whole process, and the same objects come
        back in a pack of the same name; so the old ones are let go first, also those of handles
        that are only waiting to be collected: a pygit2.Repository is part of a cycle.
        """
        self.close()
        gc.collect()
        with writing(self.path):
            shutil.rmtree(self.path, ignore_errors=True)
            self.repository = self._make()

    def close(self) -> None:
        """Close open files. The repository stays usable, and opens them again."""
        self.repository.free()

    def reopen(self) -> None:
        """Open the repository anew, without libgit2's cache of its files."""
        self.close()
        self.repository = pygit2.Repository(str(self.path))

    def ref(self, name: str) -> str | None:
        """Return the id that a ref has, or None."""
        try:
            found = self.repository.references.get(name)
            return str(found.target) if found is not None else None
        except (pygit2.GitError, ValueError) as error:
            raise DamagedError(f"{self.path} is damaged: {error}") from error

    def sweep(self) -> None:
        """Remove locks and unfinished packs, which a git that was killed leaves.

        Only one command at a time works on a copy, so before one begins none of them is in use.
        """
        for pattern in ("*.lock", "refs/**/*.lock", "objects/pack/tmp_*", "objects/tmp_*"):
            for left in self.path.glob(pattern):
                with writing(self.path):
                    left.unlink(missing_ok=True)

    def tidy(self) -> bool:
        """Pack the repository if it has many packs or loose objects.

        Returns whether it was packed. Raises GitError.
        """
        if self._packs() <= MOST_PACKS and self._loose() <= MOST_LOOSE:
            return False
        # Geometric: what is small is packed together, and the large pack is left as it is.
        command = ["-c", "gc.writeCommitGraph=false", "repack", "-d", "--geometric=2", "--quiet"]
        done = run_git(
            [f"--git-dir={self.path}", *command, "--no-write-bitmap-index"],
            env=environment(self.path),
            timeout=_PACKING_TIMEOUT,
        )
        if done.code != 0:
            raise DamagedError(f"{self.path} cannot be packed: {done.err.strip()[-300:]}")
        self.reopen()  # it has the old packs open
        return True

    def _packs(self) -> int:
        return sum(1 for _ in (self.path / "objects" / "pack").glob("*.pack"))

    def _loose(self) -> int:
        """Estimate the loose objects, which are spread evenly over 256 folders."""
        folders = (self.path / "objects" / f"{number:02x}" for number in range(_SAMPLE))
        return sum(len(list(f.iterdir())) for f in folders if f.is_dir()) * 256 // _SAMPLE
