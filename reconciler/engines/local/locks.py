"""Locks that the kernel gives back when their holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FileLock:
    """An exclusive lock on a file, held until it is released or every holder has ended.

    The lock belongs to the open file: a process that inherits ``handle`` holds it too.
    """

    handle: int

    @classmethod
    def take(cls, path: Path, *, patience: float = 0.0) -> FileLock | None:
        """Take the lock; None where another has it for longer than ``patience`` seconds."""
        deadline = time.monotonic() + patience
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # While we opened it the file may have been replaced: its lock is worth nothing.
                if os.path.samestat(os.fstat(handle), path.stat()):
                    return cls(handle)
            except (BlockingIOError, FileNotFoundError):
                pass
            os.close(handle)
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.02)

    def release(self) -> None:
        """Let go. A process that inherited the lock goes on holding it."""
        os.close(self.handle)


def held(path: Path) -> bool:
    """Whether anybody holds the lock; a file that is not there is held by nobody.

    Looking takes the lock, shared, for an instant: that is why who wants it has patience.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(handle)
