"""Rounds at a forge, beside the syncs of the daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog

from reconciler.backoff import Backoff, jittered
from reconciler.config import ForgeSite, ReviewSection, Setup
from reconciler.errors import ReconcilerError
from reconciler.forge import Forge, ForgeError, forge_of
from reconciler.git import end_running
from reconciler.http_client import client
from reconciler.metrics import Metrics

log = structlog.get_logger(__name__)
T = TypeVar("T")

#: The shortest pause between two rounds in seconds, however often one is asked for.
PACE = 1.0
RETRY = Backoff(first=5.0, longest=300.0)


@dataclass(slots=True)
class ForgeLoop:
    """Calls ``round`` every ``interval`` seconds, and when asked to.

    A failed round is retried with a growing delay. Until one succeeds, ``troubles`` has an entry
    ``trouble``, which begins with ``failure``: a clause such as "updates cannot be requested".
    """

    trouble: str
    failure: str
    interval: float
    round: Callable[[], Awaitable[None]]
    metrics: Metrics
    troubles: dict[str, str]
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _failures: int = 0
    _busy: asyncio.Future[Any] | None = None

    def poll(self) -> None:
        """Ask for a round, as something may have changed."""
        self._wake.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run rounds during the block; then wait for the thread under way."""
        work = asyncio.create_task(self._run())
        try:
            yield
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await self._idle()

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run work of a round in a thread."""
        self._busy = asyncio.get_running_loop().run_in_executor(None, work)
        return await asyncio.shield(self._busy)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self.round()
            except Exception as error:  # noqa: BLE001 -- it ends with the daemon alone
                await asyncio.sleep(self._failed(error))
                continue
            self._failures = 0
            self.troubles.pop(self.trouble, None)
            await asyncio.sleep(PACE)
            with suppress(TimeoutError):
                async with asyncio.timeout(jittered(self.interval)):
                    await self._wake.wait()

    def _failed(self, error: Exception) -> float:
        """Note a failed round; returns the seconds until the next try."""
        self.metrics.failed("forge", error)
        self.troubles[self.trouble] = f"{self.failure[0].upper()}{self.failure[1:]}: {error}"
        self._failures += 1
        asked = error.pause if isinstance(error, ForgeError) else 0.0
        delay = RETRY.delay(self._failures, at_least=asked)
        known = isinstance(error, ReconcilerError)
        log_it = log.warning if known else log.exception
        log_it(self.failure, error=str(error), retry=round(delay, 1))
        return delay

    async def _idle(self) -> None:
        """End the git commands of the last thread, and wait for it."""
        while self._busy is not None and not self._busy.done():
            end_running()
            await asyncio.wait([self._busy], timeout=0.1)


@asynccontextmanager
async def connected(setup: Setup, review: ReviewSection, site: ForgeSite) -> AsyncIterator[Forge]:
    """Give a forge's client during the block."""
    ca_file = setup.config.tls.ca_file
    async with client(setup.file(ca_file) if ca_file else None) as caller:
        yield forge_of(setup, review, site, caller)
