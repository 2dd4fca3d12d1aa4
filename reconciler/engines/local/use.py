"""Use of images and environments, which keeps them from being collected.

All that use one hold its lock together, and set the lock file's time when they begin and end. The
collector takes the lock alone while it moves the folder aside, and only if that time is long ago:
who comes first keeps it, and who comes second finds it gone and has it built again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from reconciler.engines.local.layout import RootLayout
from reconciler.engines.local.locks import FileLock, is_locked

#: Seconds to wait for the collector, which holds a lock while it renames one folder.
_PATIENCE = 30.0


@contextmanager
def in_use(layout: RootLayout, name: str) -> Iterator[None]:
    """Keep an image or environment from being collected. Raises OSError.

    An image's name is its key. Whether it is there has to be looked at inside the block.
    """
    path = layout.use_lock(name)
    lock = FileLock.take(path, patience=_PATIENCE, shared=True)
    if lock is None:
        raise TimeoutError(errno.ETIMEDOUT, "another process holds the lock", str(path))
    try:
        # A lock that the collector was the first to take is empty: it says nothing of a use.
        os.pwrite(lock.handle, b"\n", 0)
        yield
        os.utime(lock.handle)
    finally:
        lock.release()


def is_used(layout: RootLayout, name: str) -> bool:
    """Return whether an image or environment is in use at this moment."""
    return is_locked(layout.use_lock(name), shared=True)


def last_use(layout: RootLayout, name: str, *made: Path) -> datetime:
    """Return the time of the last use.

    Before the first it is that of the files ``made``, of which the first counts.
    """
    lock = layout.use_lock(name)
    for path in (lock, *made):
        with suppress(FileNotFoundError):
            stat = path.stat()
            if path != lock or stat.st_size > 0:
                return datetime.fromtimestamp(stat.st_mtime, UTC)
    return datetime.now(UTC)
