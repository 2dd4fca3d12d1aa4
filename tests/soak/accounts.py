"""Which keys were finished when, and which commands began when: by one monotonic clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from watchfiles import watch

MARKER = "completed.json"


def uptime() -> float:
    """Seconds, as ``/proc/uptime`` gives them to a shell."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class Start:
    """A command that began for the artifact in ``folder``, whose name is its key."""

    at: float
    name: str
    folder: Path
    attempt: int


def starts(ledger: Path) -> Iterator[Start]:
    """The commands that began."""
    for line in ledger.read_text().splitlines():
        at, name, folder, attempt = line.split()
        yield Start(float(at), name, Path(folder), int(attempt))


@dataclass
class FinishedKeys:
    """The times between which each artifact was finished: from its marker on, to its damage.

    A key counts in whatever bucket it is, until the daemon's memory is deleted: then it is looked
    for in the configured one alone. A marker is noticed up to two seconds late, which hides a
    repetition within them.
    """

    _spans: dict[str | Path, list[list[float]]] = field(default_factory=dict)
    _seen: dict[Path, tuple[int, int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def finish(self, folder: Path, at: float) -> None:
        with self._lock:
            self._finish(folder, at)

    def _finish(self, folder: Path, at: float) -> None:
        for name in (folder, folder.name):
            spans = self._spans.setdefault(name, [])
            if not spans or len(spans[-1]) == 2:
                spans.append([at])

    def damage(self, folder: Path, at: float) -> None:
        with self._lock:
            self._end(at, folder, folder.name)

    def forget(self, at: float) -> None:
        """Note that the memory of what is finished is lost."""
        with self._lock:
            self._end(at, *(name for name in self._spans if isinstance(name, str)))

    def _end(self, at: float, *names: str | Path) -> None:
        for name in names:
            spans = self._spans.get(name, [])
            if spans and len(spans[-1]) == 1:
                spans[-1].append(at)

    def again(self, start: Start) -> bool:
        """Whether a command began although what it makes was there."""
        with self._lock:
            return any(
                span[0] < start.at and (len(span) == 1 or start.at < span[1])
                for name in (start.folder, start.folder.name)
                for span in self._spans.get(name, [])
            )

    def __len__(self) -> int:
        return sum(1 for name in self._spans if isinstance(name, str))

    # -- artifacts in folders ----------------------------------------------------------------

    def notice(self, folders: Sequence[Path], stop: threading.Event) -> None:
        """Note the markers that appear below the folders, until ``stop``."""
        for changes in watch(*folders, watch_filter=None, debounce=100, stop_event=stop):
            for _, name in changes:
                path = Path(name)
                if path.name == MARKER:
                    self.look(path)

    def look(self, marker: Path) -> None:
        """Note a marker that has not been seen."""
        with self._lock:
            try:
                status = marker.stat()
            except OSError:
                return
            identity = status.st_ino, status.st_mtime_ns
            if self._seen.get(marker) != identity:
                self._seen[marker] = identity
                self._finish(marker.parent, uptime())

    def damaged(self, artifact: Path) -> None:
        """Note that an artifact is about to be damaged."""
        self.look(artifact / MARKER)
        self.damage(artifact, uptime())
