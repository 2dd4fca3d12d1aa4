"""The daemon's HTTP server: metrics, health, the webhook and the page.

Everything that can reach the port may send it anything, and syncs run in the same process. So its
connections and the rates of requests and polls (:mod:`.limits`), the threads of scrapes, and the
time and memory of a request are all bounded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from reconciler.errors import ReconcilerError
from reconciler.forge import LARGEST_BODY, Deliveries, Delivery, DeliveryResult
from reconciler.metrics import Metrics
from reconciler.web.limits import IDLE, Connection, RequestRates, Spaced, listening
from reconciler.web.reports import Reports
from reconciler.web.site import Site

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


log = structlog.get_logger(__name__)

#: Seconds in which a request is read and answered.
DEADLINE = 30.0
#: Seconds between two polls that webhooks ask for, after a burst. A signed delivery can be sent
#: again by everyone who has seen it; a team pushes some times within a few seconds.
POLL_SPACING = 1.0
POLL_BURST = 20
#: Seconds between two log lines about refused deliveries.
_REFUSALS_SPACING = 10.0
#: Bytes of an answer that are handed to a connection at once.
_CHUNK = 64 << 10

_ANSWERS = {
    DeliveryResult.ACCEPTED: HTTPStatus.ACCEPTED,
    DeliveryResult.DUPLICATE: HTTPStatus.ACCEPTED,
    DeliveryResult.IGNORED: HTTPStatus.OK,
    DeliveryResult.REFUSED: HTTPStatus.FORBIDDEN,
}


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ListenError(ReconcilerError):
    """The server cannot listen on its address."""


@dataclass(slots=True, kw_only=True)
class Served:
    """The handlers of the server, and their data.

    ``pushed`` is called for webhooks about a push to one of ``branches``, and with ``reviews``
    for those about pull requests; many at once make one call.
    ``secret_file`` is read at each delivery, as it may rotate; without one there is no webhook.
    Without a ``page`` there is none, and without ``reports`` no pod reports progress here.
    """

    metrics: Metrics
    ready: Callable[[], bool]
    pushed: Callable[[], None]
    branches: tuple[str, ...]
    reviews: bool = False
    secret_file: Path | None = None
    page: Site | None = None
    reports: Reports | None = None
    rates: RequestRates = field(default_factory=RequestRates)
    _deliveries: Deliveries = field(init=False)
    _scrapes: Scrapes = field(init=False)
    _poll: Spaced = field(init=False)
    _warn: Spaced = field(init=False)
    _refused: int = 0

    def __post_init__(self) -> None:
        self._deliveries = Deliveries(self.branches, self.reviews)
        self._scrapes = Scrapes(self.metrics.registry)
        self._poll = Spaced(self.pushed, POLL_SPACING, burst=POLL_BURST)
        self._warn = Spaced(self._warn_of_refusals, _REFUSALS_SPACING)

    def close(self) -> None:
        """Stop what goes on without a request."""
        self._scrapes.close()
        self._poll.cancel()
        self._warn.cancel()

    @web.middleware
    async def bounded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Handle a request when it is its address's turn, within the deadline."""
        delay = self.rates.delay(request.remote or "")
        if delay is None:
            answer = web.Response(
                text="too many requests\n",
                status=HTTPStatus.TOO_MANY_REQUESTS,
                headers={"Retry-After": "1"},
            )
            answer.force_close()
            return answer
        try:
            async with asyncio.timeout(delay + DEADLINE):
                await asyncio.sleep(delay)
                return await handler(request)
        except TimeoutError:
            if isinstance(request.protocol, Connection):
                request.protocol.abort()
            raise web.HTTPRequestTimeout from None

    async def get_metrics(self, request: web.Request) -> web.StreamResponse:
        """Answer a scrape of Prometheus."""
        text = memoryview(await self._scrapes.text())
        answer = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE_LATEST})
        answer.content_length = len(text)
        await answer.prepare(request)
        # In pieces: for a reader that is slow each connection would keep a copy of the whole text.
        for start in range(0, len(text), _CHUNK):
            await answer.write(text[start : start + _CHUNK])
        await answer.write_eof()
        return answer

    async def get_health(self, _: web.Request) -> web.Response:
        """Answer a liveness probe."""
        return web.Response(text="ok\n")

    async def get_readiness(self, _: web.Request) -> web.Response:
        """Answer a readiness probe: the daemon has synced, or stands by."""
        if self.ready():
            return web.Response(text="ok\n")
        return web.Response(text="not synced yet\n", status=HTTPStatus.SERVICE_UNAVAILABLE)

    async def post_webhook(self, request: web.Request) -> web.Response:
        """Handle a webhook of a forge."""
        if self.secret_file is None:
            return web.Response(text="set server.webhookSecretFile\n", status=HTTPStatus.NOT_FOUND)
        try:
            secret = self.secret_file.read_bytes().strip()
        except OSError as error:
            log.warning("the webhook's secret cannot be read", error=str(error))
            return web.Response(status=HTTPStatus.INTERNAL_SERVER_ERROR)
        headers = {name.lower(): value for name, value in request.headers.items()}
        delivery = self._deliveries.begin(headers, secret)
        if delivery is not None and not await _fed(delivery, request):
            return web.Response(status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        result = self._deliveries.end(delivery) if delivery else DeliveryResult.REFUSED
        self.metrics.webhooks.labels(result.value).inc()
        if result is DeliveryResult.ACCEPTED:
            self._poll()
        elif result is DeliveryResult.REFUSED:
            self._refused += 1
            self._warn()
        return web.Response(text=f"{result}\n", status=_ANSWERS[result])

    def _warn_of_refusals(self) -> None:
        log.warning("webhooks without the right signature", count=self._refused)
        self._refused = 0


async def _fed(delivery: Delivery, request: web.Request) -> bool:
    """Read a body into a delivery; False for one too large."""
    if (request.content_length or 0) > LARGEST_BODY:
        return False
    async for data in request.content.iter_any():
        delivery.feed(data)
        if delivery.size > LARGEST_BODY:
            return False
    return True


@asynccontextmanager
async def serve(
    address: str, served: Served, *, connections: int | None = None, idle: float = IDLE
) -> AsyncIterator[str | None]:
    """Listen on ``host:port`` while the context lasts.

    An empty address serves nothing. Yields the address with the port that was taken.
    ``connections`` and ``idle`` are those of :func:`.listening`. Raises ListenError.
    """
    if not address:
        yield None
        return
    app = web.Application(middlewares=[served.bounded])
    app.add_routes(
        [
            web.get("/metrics", served.get_metrics),
            web.get("/healthz", served.get_health),
            web.get("/readyz", served.get_readiness),
            web.post("/webhook", served.post_webhook),
        ]
    )
    if served.reports is not None:
        app.add_routes(served.reports.routes())
    if served.page is not None:
        app.add_routes(served.page.routes())
        app.middlewares.append(served.page.missing)
    host, _, port = address.rpartition(":")
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    assert runner.server is not None
    # An IPv6 address is in brackets here, as in a URL, and in none where it is bound.
    name = host.removeprefix("[").removesuffix("]") or None
    async with AsyncExitStack() as stack:
        stack.push_async_callback(runner.cleanup)
        stack.callback(served.close)
        listener = listening(runner.server, name, int(port), most=connections, idle=idle)
        try:
            bound, number = await stack.enter_async_context(listener)
        except OSError as error:
            raise ListenError(
                f"cannot listen on {address} ({error.strerror or error}); "
                f'set server.address to a free one, or to "" for none'
            ) from error
        yield f"[{bound}]:{number}" if ":" in bound else f"{bound}:{number}"
