"""Pods whose end the watch has not brought yet, listed once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from reconciler.backoff import Backoff
from reconciler.engines.kubernetes.api_errors import ApiError
from reconciler.engines.kubernetes.api_types import Job, Pod

log = structlog.get_logger(__name__)

#: Tries to list the pods of one Job, and the pauses in between.
TRIES = 10
RETRY = Backoff(first=5.0, longest=5.0)

#: Lists the pods of a Job by its namespace and name, and stores them. Raises ApiError.
ListPods = Callable[[str, str], Awaitable[None]]


class MissingPods:
    """Jobs whose end is seen before that of their pods, by UID.

    The outcome of a Job is known from its pods, and the watch of Pods may be behind that of Jobs:
    mostly for milliseconds, but with an API server that refuses every second request for as long
    as the watch cannot be resumed. A Job that has failed would then be taken for one whose pods are
    gone, and its command would run once more. So if this process has followed a Job while it was
    live, and no pod of it was seen to end, its pods are listed once.
    """

    def __init__(self, list_pods: ListPods, changed: Callable[[], None]) -> None:
        self._list_pods = list_pods
        self._changed = changed
        self._followed: set[str] = set()
        self._listing: dict[str, asyncio.Task[None]] = {}

    def follow(self, uid: str) -> None:
        """Follow a Job that is live."""
        self._followed.add(uid)

    def retain(self, uids: set[str]) -> None:
        """Forget all Jobs but these."""
        self._followed &= uids

    def are_pending(self, job: Job, pods: Sequence[Pod]) -> bool:
        """Return whether an ended Job's outcome is unknown; then list its pods."""
        uid = job.metadata.uid
        if uid not in self._followed:
            return False
        if any(pod.is_over() for pod in pods):
            self._followed.discard(uid)
            return False
        if uid not in self._listing:
            self._listing[uid] = asyncio.get_running_loop().create_task(self._list(job))
        return True

    async def stop(self) -> None:
        """Stop listing."""
        listing = list(self._listing.values())
        for task in listing:
            task.cancel()
        await asyncio.gather(*listing, return_exceptions=True)

    async def _list(self, job: Job) -> None:
        meta = job.metadata
        for number in range(1, TRIES + 1):
            try:
                await self._list_pods(meta.namespace, meta.name)
                break
            except ApiError as error:
                log.warning("a Job's pods cannot be listed", job=meta.name, error=str(error))
                await asyncio.sleep(RETRY.delay(number))
        self._followed.discard(meta.uid)
        self._listing.pop(meta.uid, None)
        self._changed()
