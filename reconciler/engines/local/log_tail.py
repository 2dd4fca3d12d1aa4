"""The end of a log file, read for somebody who may see logs and nothing else of this disk."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from reconciler.log_tail import ATTEMPT_LOG, LogOf, NoTail, Tail


class LocalLogs:
    """Reads the logs of attempts below some folders: the local root, and buckets on this disk.

    A status names its log by URL, and a status branch can be written by more people than may read
    this machine's files: so neither another folder, nor another name, nor a link is followed.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = tuple(folder.resolve() for folder in folders)

    async def tail(self, log: LogOf, longest: int) -> Tail | NoTail:
        """The end of the file that the URL names, or of another attempt's beside it."""
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
            return _read(folder / file.name, longest)
        except FileNotFoundError:
            return NoTail(f"There is no {file.name} any more.")
        except OSError as error:
            return NoTail(f"The log cannot be read: {error.strerror}.")


def _read(file: Path, longest: int) -> Tail | NoTail:
    # A command can put anything in its place: a link elsewhere, or a pipe that nobody writes to.
    handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as stream:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode):
            return NoTail("The log is no ordinary file.")
        start = stream.seek(max(0, found.st_size - longest))
        return Tail(data=stream.read(longest), where=str(file), whole=start == 0)
