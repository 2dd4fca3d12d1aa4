"""The daemon's HTTP server: metrics, health, the webhook and the page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from reconciler.errors import ReconcilerError
from reconciler.forge import LARGEST_BODY, Deliveries, DeliveryResult
from reconciler.metrics import Metrics
from reconciler.web.site import Site

log = structlog.get_logger(__name__)

_ANSWERS = {
    DeliveryResult.ACCEPTED: HTTPStatus.ACCEPTED,
    DeliveryResult.DUPLICATE: HTTPStatus.ACCEPTED,
    DeliveryResult.IGNORED: HTTPStatus.OK,
    DeliveryResult.REFUSED: HTTPStatus.FORBIDDEN,
}


class ListenError(ReconcilerError):
    """The server cannot listen on its address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The handlers of the server, and their data.

    ``pushed`` is called for each webhook about a push to one of ``branches``, and with ``reviews``
    for those about pull requests.
    ``secret_file`` is read at each delivery, as it may rotate; without one there is no webhook.
    Without a ``page`` there is none.
    """

    metrics: Metrics
    ready: Callable[[], bool]
    pushed: Callable[[], None]
    branches: tuple[str, ...]
    reviews: bool = False
    secret_file: Path | None = None
    page: Site | None = None
    deliveries: Deliveries = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "deliveries", Deliveries(self.branches, self.reviews))

    async def get_metrics(self, _: web.Request) -> web.Response:
        """Answer a scrape of Prometheus."""
        # In a thread: ten thousand series take a tenth of a second, and would block other requests.
        return web.Response(
            body=await asyncio.to_thread(generate_latest, self.metrics.registry),
            headers={"Content-Type": CONTENT_TYPE_LATEST},
        )

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
        result = self.deliveries.check(headers, await request.read(), secret)
        self.metrics.webhooks.labels(result.value).inc()
        if result is DeliveryResult.ACCEPTED:
            self.pushed()
        elif result is DeliveryResult.REFUSED:
            log.warning("a webhook without the right signature", remote=request.remote)
        return web.Response(text=f"{result}\n", status=_ANSWERS[result])


@asynccontextmanager
async def serve(address: str, served: Served) -> AsyncIterator[str | None]:
    """Listen on ``host:port`` while the context lasts.

    An empty address serves nothing. Yields the address with the port that was taken.
    Raises ListenError.
    """
    if not address:
        yield None
        return
    app = web.Application(client_max_size=LARGEST_BODY)
    app.add_routes(
        [
            web.get("/metrics", served.get_metrics),
            web.get("/healthz", served.get_health),
            web.get("/readyz", served.get_readiness),
            web.post("/webhook", served.post_webhook),
        ]
    )
    if served.page is not None:
        app.add_routes(served.page.routes())
        app.middlewares.append(served.page.missing)
    host, _, port = address.rpartition(":")
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        # An IPv6 address is in brackets here, as in a URL, and in none where it is bound.
        site = web.TCPSite(runner, host.removeprefix("[").removesuffix("]") or None, int(port))
        try:
            await site.start()
        except OSError as error:
            raise ListenError(
                f"cannot listen on {address} ({error.strerror or error}); "
                f'set server.address to a free one, or to "" for none'
            ) from error
        bound = runner.addresses[0]
        yield f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"
    finally:
        await runner.cleanup()
