"""Logs of attempts on this disk, while they grow."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from reconciler.engine import ATTEMPT_LOG, LogOf, OpenedLog, newest_attempt

_CHUNK = 1 << 20
#: Bytes from the end of a log in which its last lines are looked for.
_LONGEST_TAIL = 8 << 20
#: How a supervisor marks the lines of several ranks.
_RANK = re.compile(rb"\[rank (\d{1,9})\] ")


class FollowedFileLogs:
    """The logs of a folder's attempts, from the newest on.

    An attempt's log is at its end when that of the next is there. The first begins with its last
    ``lines``; 0 for all.
    """

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._attempt = 0
        self._read = 0
        self._opened = False
        self._partial = b""
        self.finished = False

    async def poll(self, log: LogOf) -> AsyncGenerator[OpenedLog | bytes]:
        """Iterate over what was written since the last poll."""
        if log.url is None or urlsplit(log.url).scheme != "file":
            return
        folder = Path(unquote(urlsplit(log.url).path)).parent
        while True:
            # What is written before this is in the log of this attempt: read after it.
            newest = (
                newest_attempt(file.name for file in folder.iterdir()) if folder.is_dir() else 0
            )
            if not self._attempt:
                self._attempt = log.attempt or newest
            if self._attempt:
                for piece in self._more(folder / f"attempt-{self._attempt}.log"):
                    yield piece if isinstance(piece, OpenedLog) else self._of_rank(piece, log.rank)
            if newest <= self._attempt:
                return
            if log.attempt is not None:
                self.finished = True
                return
            if self._partial:
                yield self._partial
            self._attempt += 1
            self._read, self._opened, self._partial = 0, False, b""

    def _more(self, file: Path) -> Iterator[OpenedLog | bytes]:
        """Yield the unread part of a file that may be missing."""
        assert ATTEMPT_LOG.fullmatch(file.name)
        try:
            # A command can put anything in its place: a link elsewhere, a pipe without a writer.
            handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP):
                return
            raise
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            os.close(handle)
            return
        with os.fdopen(handle, "rb") as stream:
            if not self._opened:
                self._opened = True
                yield OpenedLog(str(file))
                if self._lines:
                    stream.seek(max(0, found.st_size - _LONGEST_TAIL))
                    data = stream.read(_LONGEST_TAIL)
                    self._read, last = stream.tell(), self._lines
                    self._lines = 0
                    yield b"".join(data.splitlines(keepends=True)[-last:])
            stream.seek(self._read)
            while data := stream.read(_CHUNK):
                self._read += len(data)
                yield data

    def _of_rank(self, data: bytes, rank: int | None) -> bytes:
        """Return the whole lines of one rank, and keep the rest."""
        if rank is None:
            return data
        cut = (self._partial + data).rfind(b"\n") + 1
        lines, self._partial = (self._partial + data)[:cut], (self._partial + data)[cut:]
        return rank_lines(lines, rank)


def rank_lines(data: bytes, rank: int) -> bytes:
    """Return the lines of one rank, without the mark that several have.

    Lines without a mark are of all: of the only rank, or of the supervisor.
    """
    kept = []
    for line in data.splitlines(keepends=True):
        marked = _RANK.match(line)
        if marked is None:
            kept.append(line)
        elif int(marked[1]) == rank:
            kept.append(line[marked.end() :])
    return b"".join(kept)
