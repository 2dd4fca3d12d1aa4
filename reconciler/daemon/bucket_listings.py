"""Listings of the buckets that Datasets observe, beside the daemon's loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from reconciler.backoff import Backoff, jittered
from reconciler.engine import EngineError
from reconciler.reasons import UnresolvedSource
from reconciler.types import BucketSource, DataListing

#: Listings that are taken at once. Each reads a disk, or is a Job.
AT_ONCE = 4
#: Seconds after which a listing that differs is taken once more, if the interval is no shorter: an
#: upload may be under way, and each state of it would be trained on.
SETTLE = 60.0
RETRY_FIRST = 5.0


@dataclass(slots=True)
class _Folder:
    """The last listing of a folder, and the next one's time.

    ``moving`` is a listing that differs, seen once.
    """

    found: DataListing | UnresolvedSource | None = None
    moving: DataListing | None = None
    due: float = 0.0
    failures: int = 0
    task: asyncio.Task[None] | None = None


class BucketListings:
    """Lists folders once an interval, in seconds; differing ones twice.

    A listing that takes longer than the patience goes on; ``changed`` is called at its end. The
    loop owns all state. :meth:`resolve` is called in another thread.
    """

    def __init__(
        self,
        take: Callable[[BucketSource], Awaitable[DataListing]],
        *,
        interval: float,
        changed: Callable[[], None],
        patience: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._take = take
        self._interval = interval
        self._changed = changed
        self._patience = patience
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._folders: dict[BucketSource, _Folder] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    def start(self) -> None:
        """Use the running loop."""
        self._loop = asyncio.get_running_loop()

    async def stop(self) -> None:
        """End what is under way."""
        tasks = [folder.task for folder in self._folders.values() if folder.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def resolve(
        self, requests: AbstractSet[BucketSource], refresh: AbstractSet[str]
    ) -> dict[BucketSource, DataListing | UnresolvedSource]:
        """Return each folder's listing, from memory while it is fresh.

        Those of URLs in ``refresh`` are listed again, and a difference counts at once. To be
        called from a thread beside the loop.
        """
        assert self._loop is not None  # started
        asked = self.listings(requests, refresh)
        return asyncio.run_coroutine_threadsafe(asked, self._loop).result()

    async def listings(
        self, requests: AbstractSet[BucketSource], refresh: AbstractSet[str]
    ) -> dict[BucketSource, DataListing | UnresolvedSource]:
        """Return each folder's listing, as :meth:`resolve` does."""
        for gone in self._folders.keys() - requests:
            folder = self._folders.pop(gone)
            if folder.task is not None:
                folder.task.cancel()
        now = self._clock()
        for request in requests:
            folder = self._folders.setdefault(request, _Folder())
            asked = request.url in refresh
            if folder.task is None and (asked or now >= folder.due):
                folder.task = asyncio.create_task(self._list(request, folder, settled=asked))
        under_way = [self._folders[r].task for r in requests]
        if tasks := [task for task in under_way if task is not None]:
            await asyncio.wait(tasks, timeout=self._patience)
        return {r: self._folders[r].found or _still(r) for r in requests if r in self._folders}

    def due(self) -> float:
        """Return the seconds until a folder is to be listed again.

        One that is being listed says so at its end.
        """
        now = self._clock()
        waits = [folder.due - now for folder in self._folders.values() if folder.task is None]
        return max(0.0, min(waits, default=self._interval))

    async def _list(self, request: BucketSource, folder: _Folder, *, settled: bool) -> None:
        try:
            async with self._slots:
                found = await self._take(request)
        except EngineError as error:
            folder.found, folder.moving = UnresolvedSource(error.reason), None
            folder.failures += 1
            retry = Backoff(first=RETRY_FIRST, longest=max(RETRY_FIRST, self._interval))
            folder.due = self._clock() + retry.delay(folder.failures)
        else:
            folder.failures = 0
            self._learn(folder, found, settled=settled)
        finally:
            folder.task = None
        self._changed()

    def _learn(self, folder: _Folder, found: DataListing, *, settled: bool) -> None:
        """Keep a listing; one that differs counts when it is seen twice."""
        differs = isinstance(folder.found, DataListing) and folder.found != found
        if differs and not settled and folder.moving != found:
            folder.moving = found
            folder.due = self._clock() + min(self._interval, SETTLE)
            return
        folder.found, folder.moving = found, None
        folder.due = self._clock() + jittered(self._interval)


def _still(request: BucketSource) -> UnresolvedSource:
    return UnresolvedSource.unavailable(f"{request.url} is still being listed")
