"""Locks of files, and of keys: one attempt at a time.

The kernel releases a file lock when its owner dies, however it dies. A key lock is a file lock
that the attempt's own processes have too, with their identities in the lock file. A lock alone is
not enough: a process can close an inherited descriptor and go on. So a supervisor that takes the
key over from a run without supervisor first ends the processes that the file names, and the
containers of their attempt.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.backoff import jittered
from reconciler.codec import Codec, CodecError
from reconciler.engines.local.container_terms import Program
from reconciler.engines.local.failures import StillRunningError
from reconciler.engines.local.fsync import read_json
from reconciler.engines.local.layout import RunDirectory
from reconciler.engines.local.process import ProcessIdentity, kill, members

#: Seconds that killed processes are given to be gone; the kernel may hold one in a slow write.
_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class FileLock:
    """A lock on a file, until released or without a process.

    The lock belongs to the open file: a process that inherits ``handle`` holds it too.
    """

    handle: int

    @classmethod
    def take(cls, path: Path, *, patience: float = 0.0, shared: bool = False) -> FileLock | None:
        """Take the lock; None if not free within ``patience`` seconds.

        A ``shared`` one is free unless another has it alone.
        """
        mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        deadline = time.monotonic() + patience
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, mode | fcntl.LOCK_NB)
                # While we opened it the file may have been replaced: its lock is worth nothing.
                if os.path.samestat(os.fstat(handle), path.stat()):
                    return cls(handle)
            except (BlockingIOError, FileNotFoundError):
                pass
            os.close(handle)
            if time.monotonic() >= deadline:
                return None
            time.sleep(jittered(0.02))

    def release(self) -> None:
        """Release the lock. A process that inherited it keeps it."""
        os.close(self.handle)


def is_locked(path: Path, *, shared: bool = False) -> bool:
    """Return true if a process has the lock alone.

    False without the file. With ``shared``, also if others have it together. The test takes the
    lock for an instant: that is why ``take`` has patience.
    """
    mode = fcntl.LOCK_EX if shared else fcntl.LOCK_SH
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(handle)


@dataclass(frozen=True, slots=True)
class _Note:
    """The processes that work under a key's lock.

    Of each leader its pid and start. ``containers`` is the program that runs those of the attempt.
    """

    run: str
    token: str
    leaders: tuple[tuple[int, str], ...]
    containers: Program | None = None

    def members(self) -> list[int]:
        """Return the ids of those that are left."""
        leaders = [ProcessIdentity(*leader) for leader in self.leaders]
        return members(self.token, leaders, own=False)


_NOTE = Codec(_Note, omit="none")


@dataclass(frozen=True, slots=True)
class KeyLock:
    """The lock of a key or of an environment, taken."""

    lock: FileLock
    run: str

    @classmethod
    def take(cls, path: Path, run: RunDirectory, wait: Callable[[], bool]) -> KeyLock | None:
        """Wait until the lock is free, then take it.

        ``wait`` is called between attempts and waits a little; None once it returns False. Raises
        StillRunningError where processes of an earlier attempt cannot be killed.
        """
        while True:
            lock = FileLock.take(path)
            note = _read(path)
            if lock is not None:
                if note is not None:
                    _end(note)
                taken = cls(lock, run.name)
                taken.clear()
                return taken
            # Perhaps only processes of a lost supervisor have it. This run's own lock is ours,
            # so a note of this run is of an earlier supervisor, which has gone.
            if note is not None and (
                note.run == run.name
                or not is_locked(RunDirectory(run.path.with_name(note.run)).lock)
            ):
                _end(note)
            if not wait():
                return None

    def record(
        self, token: str, leaders: Sequence[ProcessIdentity], containers: Program | None = None
    ) -> None:
        """Record the processes that work under this lock, before they begin.

        ``containers`` is the program that runs the attempt's containers, if there are any.
        """
        starts = tuple((leader.pid, leader.start) for leader in leaders)
        note = _Note(self.run, token, starts, containers)
        self._write(json.dumps(_NOTE.dump(note)).encode())

    def clear(self) -> None:
        """Record that no process works under this lock."""
        self._write(b"")

    def release(self) -> None:
        """Release the lock; no process may be working under it."""
        self.lock.release()

    def _write(self, data: bytes) -> None:
        os.ftruncate(self.lock.handle, 0)
        os.pwrite(self.lock.handle, data, 0)
        os.fsync(self.lock.handle)


def has_processes(path: Path) -> bool:
    """Return whether processes that work under a key's lock are left."""
    note = _read(path)
    return note is not None and bool(note.members())


def _read(path: Path) -> _Note | None:
    # A note that was cut short names an attempt whose processes had not been let go yet: they
    # end by themselves with their supervisor.
    try:
        return _NOTE.load(read_json(path))
    except (OSError, ValueError, CodecError):
        return None


def _end(note: _Note) -> None:
    if not kill(note.members, lambda: None, _PATIENCE):
        raise StillRunningError(
            "processes of an earlier attempt cannot be killed (they wait for a device); "
            f"they are {', '.join(map(str, note.members()))}"
        )
    if note.containers is not None:
        from reconciler.engines.local.container_program import (  # noqa: PLC0415 - not for processes
            ATTEMPT,
            ContainerProgram,
            end_containers,
        )

        end_containers(ContainerProgram(note.containers), {ATTEMPT: note.token})
