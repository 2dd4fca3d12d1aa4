"""Collection of what no object uses, beside the daemon's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NoReturn

import structlog

from reconciler.backoff import Backoff, jittered
from reconciler.codec import format_time
from reconciler.daemon.retention import Retention
from reconciler.daemon.status_store import StatusStore
from reconciler.engine import Collected, Engine, EngineError
from reconciler.errors import ReconcilerError
from reconciler.metrics import Metrics
from reconciler.planner import all_images_in_use

log = structlog.get_logger(__name__)

#: Seconds between two collections.
_INTERVAL = 3600.0
#: Seconds after collections that could not read all that may refer to an artifact.
_DOUBTFUL = Backoff(first=5.0, longest=_INTERVAL, factor=4.0)


class Collector:
    """Collects by the records of the last sync."""

    def __init__(
        self, engine: Engine, store: StatusStore, metrics: Metrics, retention: Retention
    ) -> None:
        self._engine, self._store, self._metrics = engine, store, metrics
        self._retention = retention

    async def run(self, synced: asyncio.Event) -> NoReturn:
        """Collect after the first sync, and then from time to time.

        At a start the open pull requests are not read yet, so doubts are looked at again soon.
        """
        await synced.wait()
        doubtful = 0
        while True:
            await self.collect()
            doubtful = doubtful + 1 if self._retention.doubtful else 0
            pause = _DOUBTFUL.delay(doubtful) if doubtful else jittered(_INTERVAL)
            await asyncio.sleep(pause)

    async def collect(self) -> None:
        """Collect once. A failure is logged, and tried again the next time."""
        await self._environments()
        try:
            self._tell(await self._retention.collect())
        except (ReconcilerError, OSError) as error:
            self._metrics.failed("engine", error)
            log.warning("artifacts cannot be collected", error=str(error))

    async def _environments(self) -> None:
        try:
            collected = await self._engine.collect(all_images_in_use(self._store.records.values()))
        except (EngineError, OSError) as error:
            self._metrics.failed("engine", error)
            log.warning("unused environments cannot be collected", error=str(error))
            return
        self._tell(collected)

    def _tell(self, collected: Sequence[Collected]) -> None:
        self._metrics.collected(collected)
        for found in collected:
            log.info(
                "unused and removed",
                what=found.kind.value,
                name=found.name[:12],
                freed=found.freed,
                used=format_time(found.used),
            )
