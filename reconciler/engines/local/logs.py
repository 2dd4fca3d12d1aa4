"""Logs of attempts: written by the supervisor, read for the status page.

A log file is bounded. Its last lines are part of a failure's message.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from reconciler import redaction
from reconciler.engine import ATTEMPT_LOG, LogOf, NoTail, Tail
from reconciler.engines.local.folders import create_in, open_logs
from reconciler.engines.local.fsync import remove_tree
from reconciler.urls import redact

#: A log is cut here: a command gone wild would otherwise fill the disk under every other run.
LIMIT = 1 << 30
_TAIL = 8192
_PIECE = 1 << 20
_MOST_SHOWN = 600
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(slots=True)
class Output:
    """The log file of an attempt. Its errors never stop the command.

    ``disk_full``: something could not be written because the disk was full.
    """

    handle: int
    limit: int = LIMIT
    path: Path | None = None
    disk_full: bool = False
    _written: int = 0
    _cut: bool = False
    _tail: bytearray = field(default_factory=bytearray)

    @classmethod
    def create(cls, path: Path, *, limit: int = LIMIT) -> Output:
        """Create the file. Raises FileExistsError for a number that was used."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND
        return cls(os.open(path, flags, 0o644), limit, path)

    def write(self, data: bytes) -> None:
        """Append output of the command."""
        self._tail += data
        del self._tail[:-_TAIL]
        if self._cut:
            return
        if self._written + len(data) > self.limit:
            self._cut = True
            data = data[: self.limit - self._written]
            data += b"\n[reconciler] the log ends here: it has reached its limit of "
            data += f"{self.limit} bytes; the command goes on\n".encode()
        self._append(data)

    def note(self, text: str) -> None:
        """Append a line of the reconciler."""
        self._append(f"[reconciler] {text}\n".encode())

    def _append(self, data: bytes) -> None:
        try:
            while data:
                count = os.write(self.handle, data)
                self._written += count
                data = data[count:]
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            self.disk_full = True

    def last_lines(self, count: int, secrets: Collection[str]) -> str:
        """Return the last lines that are not blank, joined, without secrets."""
        text = _CONTROL.sub("", self._tail.decode(errors="replace").replace("\r", "\n"))
        text = redact(redaction.without(text, secrets))
        lines = [stripped for line in text.splitlines() if (stripped := line.strip())]
        shown = " / ".join(lines[-count:]) if count else ""
        return shown if len(shown) <= _MOST_SHOWN else f"…{shown[-_MOST_SHOWN:]}"

    def restore(self) -> None:
        """Write the file again if the command has removed or replaced it.

        To be called once no process of the command is left. Raises OSError.
        """
        if self.path is None:
            return
        with open_logs(self.path.parent) as folder:
            with suppress(FileNotFoundError):
                found = os.stat(self.path.name, dir_fd=folder, follow_symlinks=False)
                if os.path.samestat(found, os.fstat(self.handle)):
                    return
                remove_tree(self.path)
            old = self.handle
            self.handle = create_in(folder, self.path.name, os.O_RDWR | os.O_APPEND)
            try:
                self._copy(old)
            finally:
                os.close(old)
            os.fsync(folder)

    def _copy(self, old: int) -> None:
        """Append another file's content, as far as there is room."""
        at, written, was_full = 0, self._written, self.disk_full
        self.disk_full = False
        while not self.disk_full and (data := os.pread(old, _PIECE, at)):
            at += len(data)
            self._append(data)
        self._written, self.disk_full = written, self.disk_full or was_full

    def close(self) -> None:
        """Close the file, durably if the disk permits it."""
        try:
            os.fsync(self.handle)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
        finally:
            os.close(self.handle)


class LocalLogs:
    """The logs of attempts below some folders.

    They are the local root, and buckets on this disk.
    A status names its log by URL, and a status branch can be written by more people than may read
    this machine's files: so neither another folder, nor another name, nor a link is followed.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = tuple(folder.resolve() for folder in folders)

    async def tail(self, log: LogOf, longest: int) -> Tail | NoTail:
        """Read the end of a log, or of another attempt's beside it."""
        import asyncio  # noqa: PLC0415 - a supervisor imports this module and starts without it

        if log.url is None:
            return NoTail("It has no log yet.")
        return await asyncio.to_thread(self._tail, log.url, log.attempt, longest)

    def _tail(self, url: str, attempt: int | None, longest: int) -> Tail | NoTail:
        parts = urlsplit(url)
        if parts.scheme != "file":
            return NoTail(f"The log is not on this machine's disk; the newest is at {url}")
        file = Path(unquote(parts.path))
        if attempt is not None:
            file = file.with_name(f"attempt-{attempt}.log")
        try:
            folder = file.parent.resolve()
        except (OSError, ValueError):
            return NoTail("The log cannot be found.")
        inside = any(folder.is_relative_to(known) for known in self._folders)
        if not inside or not ATTEMPT_LOG.fullmatch(file.name):
            return NoTail("The status names a file that is no log of this daemon's runs.")
        try:
            return _read_end(folder / file.name, longest)
        except FileNotFoundError:
            return NoTail(f"There is no {file.name} any more.")
        except OSError as error:
            return NoTail(f"The log cannot be read: {error.strerror}.")


def _read_end(file: Path, longest: int) -> Tail | NoTail:
    # A command can put anything in its place: a link elsewhere, or a pipe without a writer.
    handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as stream:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode):
            return NoTail("The log is no ordinary file.")
        start = stream.seek(max(0, found.st_size - longest))
        return Tail(data=stream.read(longest), where=str(file), whole=start == 0)
