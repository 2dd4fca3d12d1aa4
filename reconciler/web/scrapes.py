"""Scrapes of the metrics, in a thread of their own and shared.

Ten thousand series take a tenth of a second of the interpreter. In the threads that syncs use, a
flood of scrapes would be ahead of each fetch and push.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from prometheus_client import CollectorRegistry, generate_latest

#: A text is served again for so many times the time that it took: a flood of scrapes takes at most
#: a tenth of a core.
REUSE = 10.0


class Scrapes:
    """The text of the metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scrape")
        self._rendering: asyncio.Task[bytes] | None = None
        self._stale = 0.0

    async def text(self) -> bytes:
        """Return the present text; scrapes at once get the same one."""
        rendering = self._rendering
        if rendering is None or (rendering.done() and time.monotonic() >= self._stale):
            rendering = self._rendering = asyncio.create_task(self._render())
        # A scrape that is cut off does not end the others' rendering.
        return await asyncio.shield(rendering)

    async def _render(self) -> bytes:
        began = time.monotonic()
        loop = asyncio.get_running_loop()
        text = await loop.run_in_executor(self._thread, generate_latest, self._registry)
        ended = time.monotonic()
        self._stale = ended + REUSE * (ended - began)
        return text

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False, cancel_futures=True)
