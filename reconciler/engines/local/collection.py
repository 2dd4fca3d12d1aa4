"""Collection of images and environments that nothing uses.

An image is unused if no object needs its build and no live run runs in it, an environment if no
image is left that needs it; either also has to be unused for a while (:mod:`.use`). It is first
moved aside, by one rename, and then removed:

* An image is there or not, with its ``image.json``.
* Of an environment the record goes first. A folder without record is no environment: the next build
  that needs it makes it anew, and a later collection removes it.
* What was moved aside and not removed, as the daemon was killed, is removed at its next start.

A build or run that begins at the same time holds the lock of its key or of its use, or finds the
folder gone and has it built again.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from reconciler.engine import Collected, CollectedKind
from reconciler.engines.local.build import environment_of
from reconciler.engines.local.fsync import remove_tree, sync_directory
from reconciler.engines.local.layout import RootLayout
from reconciler.engines.local.locks import FileLock, has_processes
from reconciler.engines.local.use import last_use

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LocalCollection:
    """Removes what was not used for ``keep``. ``stopped`` ends it early."""

    layout: RootLayout
    keep: timedelta
    stopped: Callable[[], bool]

    def collect(self, needed: AbstractSet[str]) -> list[Collected]:
        """Remove unused images and environments. Raises OSError."""
        return [*self._images(needed), *self._environments()]

    def _images(self, needed: AbstractSet[str]) -> Iterator[Collected]:
        for path in sorted(self.layout.images.iterdir()):
            name = path.name
            if name in needed or path.as_uri() in needed or self.stopped():
                continue
            with self._unused(name, self.layout.key_lock(name), *image_files(path)) as used:
                if used is not None:
                    aside = self._move_aside(path)
            if used is not None:
                yield self._removed(CollectedKind.IMAGE, name, aside, used)

    def _environments(self) -> Iterator[Collected]:
        layout = self.layout
        for name in sorted({path.stem for path in layout.envs.glob("[!.]*")} - self._needed()):
            record, path = layout.environment_record(name), layout.envs / name
            if self.stopped():
                return
            with self._unused(name, layout.environment_lock(name), record, path) as used:
                # An image may have been completed since.
                unused = used is not None and name not in self._needed()
                if unused:
                    record.unlink(missing_ok=True)
                    sync_directory(layout.envs)
                    aside = self._move_aside(path)
            if used is not None and unused:
                yield self._removed(CollectedKind.ENVIRONMENT, name, aside, used)

    def _needed(self) -> set[str | None]:
        """Return the environments that images have."""
        layout = self.layout
        return {environment_of(layout.image(path.name)) for path in layout.images.iterdir()}

    @contextmanager
    def _unused(self, name: str, maker: Path, *made: Path) -> Iterator[datetime | None]:
        """Lock a candidate; its last use, or None if it stays.

        ``maker`` is the lock of what makes it.
        """
        if self._is_recent(last_use(self.layout, name, *made)):
            yield None
            return
        paths = (maker, self.layout.use_lock(name))
        with ExitStack() as stack:
            for path in paths:
                lock = FileLock.take(path)
                if lock is None:
                    yield None
                    return
                stack.callback(lock.release)
            # It may have been used since, and the attempt of a lost supervisor may go on.
            used = last_use(self.layout, name, *made)
            if self._is_recent(used) or has_processes(maker):
                yield None
                return
            yield used
            for path in paths:
                path.unlink(missing_ok=True)

    def _is_recent(self, used: datetime) -> bool:
        return datetime.now(UTC) - used < self.keep

    def _move_aside(self, path: Path) -> Path:
        aside = self.layout.trash / f"{path.name}.{secrets.token_hex(4)}"
        with suppress(FileNotFoundError):  # of an environment, the record may be all there is
            path.chmod(0o700)  # a folder that is read-only cannot be moved
            path.rename(aside)
            sync_directory(path.parent)
        return aside

    def _removed(self, kind: CollectedKind, name: str, aside: Path, used: datetime) -> Collected:
        freed = disk_usage(aside).frees
        try:
            remove_tree(aside)
        except OSError as error:
            freed -= disk_usage(aside).frees
            _log.warning("what was collected stays", path=str(aside), error=str(error))
        return Collected(kind=kind, name=name, freed=freed, used=used)


def image_files(path: Path) -> tuple[Path, ...]:
    """Return the files that date an image; the first counts."""
    return path / "image.json", path


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """Bytes of a folder's files, and those that its removal frees.

    A file with a link elsewhere, as in the cache of an installer, frees nothing.
    """

    size: int
    frees: int


def disk_usage(folder: Path) -> DiskUsage:
    """Measure a folder, which may be going away meanwhile."""
    size = frees = 0
    links: Counter[int] = Counter()
    for place, _, files in os.walk(folder):
        for name in files:
            with suppress(FileNotFoundError):
                stat = Path(place, name).lstat()
                links[stat.st_ino] += 1
                size += stat.st_size
                if links[stat.st_ino] == stat.st_nlink:
                    frees += stat.st_size
    return DiskUsage(size, frees)
