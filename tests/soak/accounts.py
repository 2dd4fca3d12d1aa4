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
    at: float
    name: str
    key: str
    attempt: int


def starts(ledger: Path) -> Iterator[Start]:
    """The commands that began."""
    for line in ledger.read_text().splitlines():
        at, name, key, attempt = line.split()
        yield Start(float(at), name, key, int(attempt))


@dataclass
class FinishedKeys:
    """The times between which each key was finished: from its marker on, to its damage.

    A marker is noticed up to two seconds late, which hides a repetition within them.
    """

    _spans: dict[str, list[list[float]]] = field(default_factory=dict)
    _seen: dict[Path, tuple[int, int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def finish(self, key: str, at: float) -> None:
        with self._lock:
            self._finish(key, at)

    def _finish(self, key: str, at: float) -> None:
        spans = self._spans.setdefault(key, [])
        if not spans or len(spans[-1]) == 2:
            spans.append([at])

    def damage(self, key: str, at: float) -> None:
        with self._lock:
            spans = self._spans.get(key, [])
            if spans and len(spans[-1]) == 1:
                spans[-1].append(at)

    def finished_at(self, key: str, at: float) -> bool:
        with self._lock:
            return any(
                span[0] < at and (len(span) == 1 or at < span[1])
                for span in self._spans.get(key, [])
            )

    def __len__(self) -> int:
        return len(self._spans)

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
                self._finish(marker.parent.name, uptime())

    def damaged(self, artifact: Path) -> None:
        """Note that an artifact is about to be damaged."""
        self.look(artifact / MARKER)
        self.damage(artifact.name, uptime())
