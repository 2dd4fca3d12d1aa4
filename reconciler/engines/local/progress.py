"""Progress of an attempt, read by its supervisor while the command runs.

The newest values go into the run's ``progress.json``, which the daemon reads; the curves into
``logs/progress-<attempt>.jsonl`` of the artifact. Neither is durable before the attempt has ended,
and no error of either ends a run.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from reconciler.codec import CodecError
from reconciler.engine import (
    LONGEST_REPORT,
    PROGRESS,
    Curves,
    Progress,
    Report,
    read_report,
)
from reconciler.engines.local.folders import open_folder, open_logs, replace_in
from reconciler.engines.local.state import Stopwatch

#: Seconds between two looks at the files of commands: at first, and in the end.
_SHORTEST, _LONGEST = 0.02, 0.5
#: Looks at a file in the time that its attempt has taken so far, so a short one has a curve too.
_LOOKS = 20


@dataclass(slots=True, kw_only=True)
class AttemptProgress:
    """The progress of attempt number ``attempt``, from now on.

    ``files`` are PROGRESS_FILE of each rank; the first is read, a change of any is a sign of life.
    ``newest`` is the file with the newest values, ``curves`` that with the curves.
    """

    attempt: int
    files: Sequence[Path]
    newest: Path
    curves: Path
    clock: Stopwatch = field(default_factory=Stopwatch)
    progress: Progress | None = None
    _began: float = field(default_factory=time.monotonic)
    _points: Curves = field(default_factory=Curves)
    _seen: dict[Path, tuple[int, int, int]] = field(default_factory=dict)
    _due: float = float("-inf")
    _lines: list[str] = field(default_factory=list)
    _whole: bool = False
    _changed: bool = False
    _reported: bool = False

    @property
    def wait(self) -> float:
        """The seconds until the next look at the files."""
        return max(0.0, self._due - time.monotonic())

    def poll(self) -> bool:
        """Look at the files, if it is time.

        Return whether one has changed, or a usable report came, since the last time.
        """
        now = time.monotonic()
        if now < self._due:
            return False
        self._due = now + pause_after(now - self._began)
        reported, self._reported = self._reported, False
        changed = self._look()
        self._write()
        return changed or reported

    def take(self, data: bytes) -> bool:
        """Take a report; return whether anything in it was usable."""
        report, dropped = read_report(data)
        self._take(report, dropped)
        self._reported = self._reported or bool(report)
        return bool(report)

    def close(self) -> None:
        """Take the last report, and write the curves as a whole.

        The command may have removed what was written so far.
        """
        self._look()
        self._whole = self._whole or bool(self.progress)
        self._changed = self.progress is not None
        self._write()

    def _look(self) -> bool:
        changed = False
        for number, file in enumerate(self.files):
            with contextlib.suppress(OSError):
                found = file.lstat()
                version = (found.st_ino, found.st_mtime_ns, found.st_size)
                if self._seen.get(file) != version:
                    self._seen[file] = version
                    changed = True
                    if number == 0:
                        self._read(file)
        return changed

    def _read(self, file: Path) -> None:
        # A command can put anything in its place: a link elsewhere, or a pipe without a writer.
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as stream:
            if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                self._take(*read_report(stream.read(LONGEST_REPORT + 1)))
            else:
                self._take(Report(), 1)

    def _take(self, report: Report, dropped: int) -> None:
        seconds = time.monotonic() - self._began
        at = self.clock.now()
        before = self.progress or Progress(attempt=self.attempt, at=at)
        self.progress = before.updated(report, at=at, seconds=seconds, dropped=dropped)
        line, thinned = self._points.add(report, seconds)
        if line:
            self._lines.append(line)
        self._whole = self._whole or thinned
        self._changed = True

    def _write(self) -> None:
        if not self._changed or self.progress is None:
            return
        self._changed = False
        with contextlib.suppress(OSError), open_folder(self.newest.parent) as folder:
            data = msgspec.json.encode(PROGRESS.dump(self.progress))
            replace_in(folder, self.newest.name, data, durable=False)
        lines, self._lines = self._lines, []
        name = self.curves.name
        with contextlib.suppress(OSError), open_logs(self.curves.parent) as folder:
            if not self._whole:
                with contextlib.suppress(FileNotFoundError):
                    _append(folder, name, "".join(lines).encode())
                    return
            self._whole = False
            replace_in(folder, name, "".join(self._points.lines()).encode(), durable=False)


def pause_after(seconds: float) -> float:
    """Return the pause between looks at an attempt of some age."""
    return min(_LONGEST, max(_SHORTEST, seconds / _LOOKS))


def read_progress(file: Path) -> Progress | None:
    """Read the newest values of a run; None without usable ones."""
    try:
        with file.open("rb") as stream:
            return PROGRESS.load(msgspec.json.decode(stream.read(2 * LONGEST_REPORT)))
    except (OSError, ValueError, CodecError):
        return None


def _append(folder: int, name: str, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
    handle = os.open(name, flags, dir_fd=folder)
    with os.fdopen(handle, "wb", buffering=0) as stream:
        stream.write(data)
