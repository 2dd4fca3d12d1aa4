"""Limits of the listener: connections, their idle times, and rates of requests.

Every pod of a cluster reaches the port. Each open connection costs a file descriptor, and without
descriptors no sync can start git. So the number of connections has a bound. At the bound the
address with the most connections loses its oldest one: who opens many closes their own, and a
probe or a scrape of another address still finds room.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp.web import RequestHandler, Server

#: The largest number of connections, and the share of the process's file descriptors.
MOST_CONNECTIONS = 100
DESCRIPTOR_SHARE = 4
#: Seconds without a whole request after which a connection is closed.
IDLE = 15.0
#: Seconds for which the rest of a refused body is read and dropped, so that its sender reads why.
LINGERING = 5.0
#: Connections that are accepted at once; each takes a descriptor before it is counted.
_BACKLOG = 32


class Connections:
    """The open connections, from the longest without a byte to the latest."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: dict[Connection, str] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: Connection, address: str) -> None:
        """Add a connection; beyond the bound, close one of the busiest address."""
        self._open[connection] = address
        if len(self._open) > self._most:
            counts = Counter(self._open.values())
            # Of equal ones the first, which is the oldest.
            victim = max(self._open, key=lambda each: counts[self._open[each]])
            del self._open[victim]
            victim.abort()

    def touch(self, connection: Connection) -> None:
        """Note that a connection has received something."""
        if connection in self._open:
            self._open[connection] = self._open.pop(connection)

    def discard(self, connection: Connection) -> None:
        """Remove a connection that is closed."""
        self._open.pop(connection, None)


class Connection(RequestHandler):
    """A connection of the listener that is counted."""

    __slots__ = ("_connections",)

    def __init__(self, server: Server, connections: Connections, *, idle: float) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=idle,
            lingering_time=LINGERING,
            # A forge signs what it sends, so a body stays as it is, and cannot grow here.
            auto_decompress=False,
        )
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self._connections.add(self, str(peer[0]) if isinstance(peer, tuple) else "")

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count the connection no more."""
        self._connections.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived."""
        self._connections.touch(self)
        super().data_received(data)

    def abort(self) -> None:
        """Close the connection at once, without what is still to be sent."""
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()


@asynccontextmanager
async def listening(
    server: Server,
    host: str | None,
    port: int,
    *,
    most: int | None = None,
    idle: float = IDLE,
) -> AsyncIterator[tuple[str, int]]:
    """Accept connections during the block; yields the bound address and port.

    ``most`` connections at once, by default `MOST_CONNECTIONS` or a share of the file descriptors.
    ``idle`` is in seconds. Raises OSError.
    """
    connections = Connections(_most() if most is None else most)
    listener = await asyncio.get_running_loop().create_server(
        lambda: Connection(server, connections, idle=idle), host, port, backlog=_BACKLOG
    )
    try:
        bound = listener.sockets[0].getsockname()
        yield str(bound[0]), int(bound[1])
    finally:
        listener.close()


def _most() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(1, min(MOST_CONNECTIONS, soft // DESCRIPTOR_SHARE))


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
