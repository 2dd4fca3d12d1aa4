"""What the daemon listens on: metrics and health, read-only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from reconciler.errors import ReconcilerError


class ListenError(ReconcilerError):
    """The address cannot be listened on."""


@asynccontextmanager
async def serve(
    address: str, *, registry: CollectorRegistry, ready: Callable[[], bool]
) -> AsyncIterator[str | None]:
    """Serve ``/metrics``, ``/healthz`` and ``/readyz`` on ``host:port`` while the context lasts.

    An empty address serves nothing. Yields the address with the port that was taken.
    Raises ListenError.
    """
    if not address:
        yield None
        return

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        if ready():
            return web.Response(text="ok\n")
        return web.Response(text="not synced yet\n", status=503)

    app = web.Application()
    app.add_routes(
        [web.get("/metrics", metrics), web.get("/healthz", healthz), web.get("/readyz", readyz)]
    )
    host, _, port = address.rpartition(":")
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host or None, int(port))
        try:
            await site.start()
        except OSError as error:
            raise ListenError(
                f"cannot listen on {address} ({error.strerror or error}); "
                f'set server.address to a free one, or to "" for none'
            ) from error
        bound = runner.addresses[0]
        yield f"{bound[0]}:{bound[1]}"
    finally:
        await runner.cleanup()
