"""Links between the processes and what they call, and the client of the API server on one.

A request travels through the world: once it is sent it arrives, whatever becomes of its sender. An
answer may be lost all the same, and a watch may break in the middle of a line.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol, Self
from urllib.parse import parse_qsl, urlsplit

import aiohttp

from tests.simulator.api_server import Answer, ApiServer, Watch, selected
from tests.simulator.loop import Process, SimulatedLoop, check_alive


@dataclass
class Link:
    """One way between a process and a server.

    ``losing``, ``failing`` and ``slow`` are shares of the requests: those that arrive but whose
    answer is lost, those that are refused, and those that take a second.
    """

    loop: SimulatedLoop
    chance: Random
    cut: bool = False
    losing: float = 0.0
    failing: float = 0.0
    slow: float = 0.0
    streams: list[Stream] = field(default_factory=list)

    def delay(self) -> float:
        """Seconds of one way; two of them are much less than the margin of a lease."""
        slow = self.chance.random() < self.slow
        return self.chance.uniform(0.3, 1.0) if slow else self.chance.uniform(0.001, 0.05)

    def heal(self) -> None:
        """Make all well, which a watch may not outlive."""
        self.cut, self.losing, self.failing, self.slow = False, 0.0, 0.0, 0.0
        for stream in list(self.streams):
            stream.heal()

    def break_streams(self) -> None:
        """Break every watch, some in the middle of a line."""
        for stream in list(self.streams):
            stream.break_off()


class Seen(Protocol):
    """Called with each request that arrives; before it is answered, and after."""

    def __call__(
        self, process: Process, method: str, path: str, body: Any, answer: Answer | None
    ) -> None: ...


class SimulatedClient:
    """Stands for the HTTP client of the kubernetes package."""

    def __init__(self, server: ApiServer, link: Link, process: Process, seen: Seen) -> None:
        self._server = server
        self._link = link
        self._process = process
        self._seen = seen
        self._loop = server.loop

    async def param_serialize(
        self, method: str, path: str, **_: Any
    ) -> tuple[str, str, dict[str, str], None, None]:
        return method, path, {}, None, None

    async def close(self) -> None:
        for stream in list(self._link.streams):
            stream.close()

    async def call_api(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        body: Any = None,
        _request_timeout: aiohttp.ClientTimeout,
    ) -> Answered:
        del headers
        check_alive()
        answer: asyncio.Future[Response | Stream] = self._loop.create_future()
        limits = _request_timeout
        self._loop.later(self._link.delay(), self._arrive, method, url, body, limits, answer)
        async with asyncio.timeout(limits.total or limits.connect):
            return Answered(await answer)

    def _arrive(
        self,
        method: str,
        url: str,
        body: Any,
        limits: aiohttp.ClientTimeout,
        answer: asyncio.Future[Response | Stream],
    ) -> None:
        link, chance = self._link, self._link.chance
        draw = chance.random()
        if link.cut:
            self._seen(self._process, method, url, None, Answer(0, b""))
            self._lose(answer, draw)
            return
        if draw < link.failing:
            self._seen(self._process, method, url, None, Answer(0, b""))
            status = chance.choice((429, 500, 503))
            self._answer(answer, Response(status, b"no", {"Retry-After": "1"}))
            return
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        if query.get("watch"):
            self._answer(answer, self._open(parts.path, query, limits))
            return
        self._seen(self._process, method, parts.path, body, None)
        given = self._server.handle(method, parts.path, query, body)
        self._seen(self._process, method, parts.path, body, given)
        if chance.random() < link.losing:
            self._lose(answer, draw)
        else:
            self._answer(answer, Response(given.status, given.body, {}))

    def _open(self, path: str, query: Mapping[str, str], limits: aiohttp.ClientTimeout) -> Stream:
        found = path.split("/")
        namespace = found[found.index("namespaces") + 1] if "namespaces" in found else None
        stream = Stream(self._loop, self._link, self._server, limits.sock_read or 1e9)
        stream.watch = Watch(found[-1], namespace, selected(query), stream.push)
        self._server.watch(stream.watch, query.get("resourceVersion", ""))
        self._loop.later(float(query["timeoutSeconds"]), stream.end)
        self._link.streams.append(stream)
        return stream

    def _answer(
        self, answer: asyncio.Future[Response | Stream], response: Response | Stream
    ) -> None:
        def come() -> None:
            if not answer.done():
                answer.set_result(response)

        self._loop.later(self._link.delay(), come)

    def _lose(self, answer: asyncio.Future[Response | Stream], draw: float) -> None:
        """End the connection, or say nothing until the client has enough."""
        if draw < 0.5:
            self._loop.later(0.01, _fail, answer)


def _fail(answer: asyncio.Future[Response | Stream]) -> None:
    if not answer.done():
        answer.set_exception(aiohttp.ClientConnectionError("the network is cut"))
        answer.exception()  # the one who waited for it may be gone


@dataclass(frozen=True)
class Answered:
    """An answer as the kubernetes package wraps it."""

    response: Response | Stream


@dataclass
class Response:
    """An answer that is there."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def content(self) -> Response:
        return self

    async def read(self, limit: int = -1) -> bytes:
        return self.body[:limit] if limit >= 0 else self.body

    async def iter_any(self) -> AsyncIterator[bytes]:
        yield self.body

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


class Stream:
    """The answer of a watch: lines that come in their order."""

    status = 200
    headers: Mapping[str, str] = {}
    connection = None
    watch: Watch

    def __init__(self, loop: SimulatedLoop, link: Link, server: ApiServer, silence: float) -> None:
        self._loop = loop
        self._link = link
        self._server = server
        self._silence = silence
        self._due = 0.0
        self._ready: deque[bytes] = deque()
        self._held: list[bytes] = []
        self._news = asyncio.Event()
        self._end: Callable[[], None] | None = None

    @property
    def content(self) -> Stream:
        return self

    def push(self, line: bytes) -> None:
        self._due = max(self._due, self._loop.now + self._link.delay())
        self._loop.later(self._due - self._loop.now, self._deliver, line)

    def _deliver(self, line: bytes) -> None:
        if self._end is not None:
            return
        if self._link.cut:
            self._held.append(line)
            return
        self._ready.append(line)
        self._news.set()

    def heal(self) -> None:
        """Deliver what was held up, or break."""
        if self._link.chance.random() < 0.5:
            self.break_off()
            return
        held, self._held = self._held, []
        for line in held:
            self._deliver(line)

    def break_off(self) -> None:
        if self._end is None and self._held and self._link.chance.random() < 0.5:
            self._ready.append(self._held[0][: len(self._held[0]) // 2])
        self._stop(_break)

    def end(self) -> None:
        self._stop(lambda: None)

    def _stop(self, end: Callable[[], None]) -> None:
        if self._end is None:
            self._end = end
            self._news.set()
            self.close()

    def close(self) -> None:
        self._server.close(self.watch)
        if self in self._link.streams:
            self._link.streams.remove(self)

    async def iter_any(self) -> AsyncIterator[bytes]:
        while True:
            while self._ready:
                yield self._ready.popleft()
            if self._end is not None:
                self._end()
                return
            self._news.clear()
            async with asyncio.timeout(self._silence):
                await self._news.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


def _break() -> None:
    raise aiohttp.ClientPayloadError("the watch broke")
