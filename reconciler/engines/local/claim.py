"""The right to work on a key or an environment, which one attempt at a time has.

A claim is a lock that the attempt's own processes hold too, with a note in the lock file of who
they are. A lock alone is not enough: a process can close what it inherited and go on. So whoever
takes the claim over from a run whose supervisor is gone first ends what the note leads to.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.engines.local.layout import RunDirectory
from reconciler.engines.local.locks import FileLock, held
from reconciler.engines.local.process import Identity, kill, members

#: Seconds that killed processes are given to be gone; the kernel may hold one in a slow write.
_PATIENCE = 30.0


class StillRunningError(Exception):
    """What is left of an earlier attempt could not be ended."""


@dataclass(frozen=True, slots=True)
class _Note:
    run: str
    token: str
    leaders: tuple[Identity, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim that is held."""

    lock: FileLock
    run: str

    @classmethod
    def take(cls, path: Path, run: RunDirectory, wait: Callable[[], bool]) -> Claim | None:
        """Wait until the claim is free, then take it.

        ``wait`` is called between looks and waits a little; None once it says False. Raises
        StillRunningError where processes of an earlier attempt cannot be killed.
        """
        while True:
            lock = FileLock.take(path)
            note = _read(path)
            if lock is not None:
                if note is not None:
                    _end(note)
                claim = cls(lock, run.name)
                claim.clear()
                return claim
            # Held, perhaps only by what a lost supervisor left behind. This run's own lock is
            # ours, so a note of this run is of an earlier supervisor, which has gone.
            if note is not None and (
                note.run == run.name or not held(RunDirectory(run.path.with_name(note.run)).lock)
            ):
                _end(note)
            if not wait():
                return None

    def note(self, token: str, leaders: Sequence[Identity]) -> None:
        """Record who works under this claim, before they begin."""
        value = {
            "run": self.run,
            "token": token,
            "leaders": [[leader.pid, leader.start] for leader in leaders],
        }
        self._write(json.dumps(value).encode())

    def clear(self) -> None:
        """Record that nobody does."""
        self._write(b"")

    def release(self) -> None:
        """Let go of the claim; nobody may be working under it."""
        self.lock.release()

    def _write(self, data: bytes) -> None:
        os.ftruncate(self.lock.handle, 0)
        os.pwrite(self.lock.handle, data, 0)
        os.fsync(self.lock.handle)


def _read(path: Path) -> _Note | None:
    # A note that was cut short names an attempt whose processes had not been let go yet: they
    # end by themselves with their supervisor.
    try:
        value = json.loads(path.read_bytes())
        leaders = tuple(Identity(int(pid), str(start)) for pid, start in value["leaders"])
        return _Note(str(value["run"]), str(value["token"]), leaders)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _end(note: _Note) -> None:
    def find() -> list[int]:
        return members(note.token, note.leaders, own=False)

    if not kill(find, lambda: None, _PATIENCE):
        raise StillRunningError(
            "processes of an earlier attempt cannot be killed (they wait for a device); "
            f"they are {', '.join(map(str, find()))}"
        )
