"""Curves of a cluster's runs, from memory or from beside their logs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import structlog

from reconciler import stores
from reconciler.engine import (
    ATTEMPT_LOG,
    LONGEST_CURVES,
    Curves,
    LogOf,
    Progress,
    ProgressReader,
    newest_attempt,
    read_curves,
)

log = structlog.get_logger(__name__)

#: Seconds for which curves that were read are shown again: as often they are kept.
CURVES_AGE = 60.0


class KeptCurves:
    """The progress of a cluster's runs, with the curves of all attempts.

    ``reported`` has what pods report to this daemon, ``local`` reads curves on this disk. Others
    are read from ``buckets``, their URLs, where the environment has credentials; a status can be
    written by more people than may read other folders.
    """

    def __init__(
        self, reported: ProgressReader, local: ProgressReader, buckets: Iterable[str]
    ) -> None:
        self._reported = reported
        self._local = local
        self._buckets = tuple(f"{url.rstrip('/')}/" for url in buckets)
        self._cached: dict[LogOf, tuple[float, asyncio.Task[Curves | None]]] = {}

    def latest(self, run: str) -> Progress | None:
        """Return what a run has reported last."""
        return self._reported.latest(run)

    async def curves(self, log: LogOf) -> Curves | None:
        """Return the curves of an attempt, at most a minute old."""
        found = await self._reported.curves(log)
        if found is not None or log.url is None:
            return found
        if log.url.startswith("file:"):
            return await self._local.curves(log)
        if not log.url.startswith(self._buckets) or not stores.has_credentials(log.url):
            return None
        now = time.monotonic()
        self._cached = {of: entry for of, entry in self._cached.items() if entry[0] > now}
        if log not in self._cached:
            reading = asyncio.create_task(asyncio.to_thread(_read, log.url, log.attempt))
            self._cached[log] = (now + CURVES_AGE, reading)
        # One request that is cancelled does not cancel the read for the others.
        return await asyncio.shield(self._cached[log][1])


def _read(url: str, attempt: int | None) -> Curves | None:
    """Read the curves beside a log; None where there are none.

    The newest attempt is that of the folder: a status names one that is over.
    """
    folder, _, name = url.rpartition("/")
    if ATTEMPT_LOG.fullmatch(name) is None or "/../" in url:
        return None
    try:
        number = attempt if attempt is not None else newest_attempt(stores.names(folder))
        data = stores.end(f"{folder}/progress-{number}.jsonl", LONGEST_CURVES)
    except stores.Missing:
        return None
    except stores.StoreError as error:
        log.warning("the curves of a run cannot be read", error=str(error))
        return None
    return read_curves(data.splitlines(keepends=True))
