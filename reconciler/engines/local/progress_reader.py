"""Reader of the progress of local runs."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from reconciler.engine import (
    ATTEMPT_LOG,
    LONGEST_CURVES,
    Curves,
    LogOf,
    Progress,
    read_curves,
)
from reconciler.engines.local.layout import RootLayout
from reconciler.engines.local.progress import read_progress

_RUN = re.compile(r"[a-z0-9][-a-z0-9.]{0,199}")


class LocalProgress:
    """The progress and curves of runs below a local root.

    ``folders`` are those that may have logs. A status names its run and its log, and a status
    branch can be written by more people than may read this machine's files: so neither another
    folder, nor another name, nor a link is followed.
    """

    def __init__(self, root: Path, folders: Iterable[Path] = ()) -> None:
        self._layout = RootLayout(root)
        self._folders = tuple(folder.resolve() for folder in (root, *folders))

    def latest(self, run: str) -> Progress | None:
        """Return what a run has reported last."""
        return read_progress(self._layout.run(run).progress) if _RUN.fullmatch(run) else None

    async def curves(self, log: LogOf) -> Curves | None:
        """Return the curves beside a log, or beside another attempt's."""
        import asyncio  # noqa: PLC0415 - a command that prints a table starts without it

        if log.url is None:
            return None
        return await asyncio.to_thread(self._curves, log.url, log.attempt)

    def _curves(self, url: str, attempt: int | None) -> Curves | None:
        parts = urlsplit(url)
        file = Path(unquote(parts.path))
        named = ATTEMPT_LOG.fullmatch(file.name)
        if parts.scheme != "file" or named is None:
            return None
        number = attempt if attempt is not None else int(named[1])
        try:
            folder = file.parent.resolve()
            if not any(folder.is_relative_to(known) for known in self._folders):
                return None
            return _read(folder / f"progress-{number}.jsonl")
        except (OSError, ValueError):
            return None


def _read(file: Path) -> Curves | None:
    # A command can put anything in its place: a link elsewhere, or a pipe without a writer.
    handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            return None
        return read_curves(stream.read(LONGEST_CURVES).splitlines(keepends=True))
