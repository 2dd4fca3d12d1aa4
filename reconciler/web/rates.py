"""Rates: of requests by address, and of calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

#: Requests a second of one address, and those that it may make at once.
RATE = 100.0
BURST = 200
#: The most seconds that a request waits for its turn.
PATIENCE = 2.0
#: Addresses that are remembered.
REMEMBERED_ADDRESSES = 1000


class RequestRates:
    """Rates of requests: a bucket of tokens for each address."""

    def __init__(
        self,
        *,
        rate: float = RATE,
        burst: int = BURST,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spacing = 1 / rate
        self._ahead = burst / rate
        self._patience = patience
        self._clock = clock
        #: The time at which an address's bucket is full again; the latest used address is last.
        self._full: dict[str, float] = {}

    def delay(self, address: str) -> float | None:
        """Return the seconds that a request waits; None refuses it."""
        now = self._clock()
        full = max(self._full.pop(address, now), now)
        wait = max(full + self._spacing - now - self._ahead, 0.0)
        too_many = wait > self._patience
        self._full[address] = full if too_many else full + self._spacing
        while len(self._full) > REMEMBERED_ADDRESSES:
            del self._full[next(iter(self._full))]
        return None if too_many else wait


class Spaced:
    """Calls of a function, one each ``interval`` seconds beyond a burst.

    The first ``burst`` calls are made at once, and one after them, so that none is lost.
    """

    def __init__(self, call: Callable[[], None], interval: float, *, burst: int = 1) -> None:
        self._call = call
        self._interval = interval
        self._ahead = (burst - 1) * interval
        #: The time at which a whole burst is allowed again.
        self._full = 0.0
        self._pending: asyncio.TimerHandle | None = None

    def __call__(self) -> None:
        """Make the call, now or when it is due."""
        if self._pending is not None:
            return
        loop = asyncio.get_running_loop()
        wait = self._full - self._ahead - loop.time()
        if wait > 0:
            self._pending = loop.call_later(wait, self._run)
        else:
            self._run()

    def cancel(self) -> None:
        """Drop a call that is still to come."""
        if self._pending is not None:
            self._pending.cancel()

    def _run(self) -> None:
        self._pending = None
        self._full = max(self._full, asyncio.get_running_loop().time()) + self._interval
        self._call()
