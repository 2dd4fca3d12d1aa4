"""How a Job ended is known from its pods, and the watch that tells of those may be behind.

On most days it is so for milliseconds. With an API server that refuses every second request it is
so for as long as the watch of Pods cannot be taken up again: a Job that has failed would be taken
for one whose pods are gone, and its command would run once more. So where this process has followed
a Job while it was live, and no pod of it was seen to end, its pods are asked for once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from reconciler.engines.kubernetes.api_types import Job, Pod
from reconciler.engines.kubernetes.errors import ApiError

log = structlog.get_logger(__name__)

#: Times that the pods of one Job are asked for where they cannot be, and seconds in between.
TRIES = 10
PAUSE = 5.0

#: Brings the pods of a Job of that namespace and name into the picture. Raises ApiError.
Ask = Callable[[str, str], Awaitable[None]]


class Unseen:
    """The Jobs that are followed, by UID, and those whose pods are being asked for."""

    def __init__(self, ask: Ask, changed: Callable[[], None]) -> None:
        self._ask = ask
        self._changed = changed
        self._followed: set[str] = set()
        self._asking: dict[str, asyncio.Task[None]] = {}

    def follow(self, uid: str) -> None:
        """A Job was live."""
        self._followed.add(uid)

    def keep(self, uids: set[str]) -> None:
        """No other Jobs are there any more."""
        self._followed &= uids

    def awaits(self, job: Job, pods: Sequence[Pod]) -> bool:
        """Whether how this Job ended is still to be found out; it is being looked for then."""
        uid = job.metadata.uid
        if uid not in self._followed:
            return False
        if any(pod.is_over() for pod in pods):
            self._followed.discard(uid)
            return False
        if uid not in self._asking:
            self._asking[uid] = asyncio.get_running_loop().create_task(self._look(job))
        return True

    async def stop(self) -> None:
        """Ask no more."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _look(self, job: Job) -> None:
        meta = job.metadata
        for _ in range(TRIES):
            try:
                await self._ask(meta.namespace, meta.name)
                break
            except ApiError as error:
                log.warning("a Job's pods cannot be asked for", job=meta.name, error=str(error))
                await asyncio.sleep(PAUSE)
        self._followed.discard(meta.uid)
        self._asking.pop(meta.uid, None)
        self._changed()
