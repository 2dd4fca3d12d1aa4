"""The push of status to Git, in intervals."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog

from reconciler.backoff import Backoff
from reconciler.daemon.status_store import StatusStore
from reconciler.git import GitError
from reconciler.metrics import Metrics

log = structlog.get_logger(__name__)

#: Seconds between two pushes of the status after failures, if the interval is no longer.
PUSH_RETRY_LONGEST = 60.0
#: Seconds that what is to be known first waits for its push.
ANNOUNCED = 5.0


class StatusPusher:
    """Pushes what changed, at most once an interval; retries have no bound.

    ``pushed`` is told of each push whether it records outcomes of runs. A failure that lasts is
    noted in ``troubles``.
    """

    def __init__(
        self,
        store: StatusStore,
        metrics: Metrics,
        troubles: dict[str, str],
        *,
        interval: float,
        pushed: Callable[[bool], None],
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._troubles = troubles
        self._interval = interval
        self._told = pushed
        self._announcing: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Push until cancelled."""
        retry = Backoff(first=2 * self._interval, longest=max(self._interval, PUSH_RETRY_LONGEST))
        failures = 0
        while True:
            await asyncio.sleep(retry.delay(failures) if failures else self._interval)
            if not self._store.dirty:
                continue
            try:
                await self.push()
            except GitError:
                failures += 1
            else:
                failures = 0

    async def push(self) -> None:
        """Push once. Raises GitError, which is noted."""
        try:
            with self._metrics.push_seconds.time():
                recorded = await self._store.flush()
        except GitError as error:
            self._failed(error)
            raise
        self._troubles.pop("push", None)
        self._metrics.last_push.set_to_current_time()
        self._told(recorded)

    async def announce(self) -> None:
        """Push the records of what is about to be done.

        It is not waited for longer than `ANNOUNCED`, and goes on then. A failure is noted.
        """
        pushing = asyncio.create_task(self._announce())
        self._announcing.add(pushing)
        pushing.add_done_callback(self._announcing.discard)
        await asyncio.wait([pushing], timeout=ANNOUNCED)

    async def _announce(self) -> None:
        with suppress(GitError):
            await self.push()

    def _failed(self, error: GitError) -> None:
        """Note a failed push."""
        self._metrics.failed("push", error)
        self._troubles["push"] = f"The status cannot be pushed: {error}"
        log.warning("status cannot be pushed", error=str(error))
