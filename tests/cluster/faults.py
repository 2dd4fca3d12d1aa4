"""A proxy in front of an API server that injects the faults which a real one has on bad days only.

What it lets through goes to the real server and comes from it unchanged.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tests.cluster.cluster import Cluster
from tests.cluster.kubeconfig import write_kubeconfig

#: What a request is answered instead; None lets it through.
Fault = Callable[[web.Request], web.Response | None]


class Proxy:
    """Counts what it is asked, by verb and resource, and what came of it."""

    def __init__(self, cluster: Cluster, *, fault: Fault, cut: float | None) -> None:
        self._cluster = cluster
        self._fault = fault
        self._cut = cut
        self.asked: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.port = 0

    def kubeconfig(self, file: Path) -> Path:
        """Write how a client reaches it; it vouches for everybody."""
        server = {"server": f"http://127.0.0.1:{self.port}"}
        return write_kubeconfig(file, server, {"token": "anybody"})

    async def serve(self, ready: Callable[[], None], end: asyncio.Event) -> None:
        """Serve until ``end``."""
        app = web.Application(client_max_size=16 << 20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # 0 would be for ever: until a watch has something to say to a client that has gone.
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        context = self._cluster.api.context
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=0)
        ) as self._session:
            ready()
            await end.wait()
            await runner.cleanup()
        # Connections that were being made or waited on end their TLS after the session has closed.
        await asyncio.sleep(0.25)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        watch = request.query.get("watch") == "true"
        what = f"{'WATCH' if watch else request.method} {_resource(request.path)}"
        self.asked[what] += 1
        fault = self._fault(request)
        if fault is not None:
            self.failed[what] += 1
            return fault
        try:
            return await self._pass_on(request, cut=self._cut if watch else None)
        except (aiohttp.ClientError, OSError):
            self.failed[what] += 1
            if request.transport is not None:  # else the client has gone already
                request.transport.abort()  # as it is when nobody listens
            raise

    async def _pass_on(self, request: web.Request, *, cut: float | None) -> web.StreamResponse:
        headers = {k: v for k, v in request.headers.items() if k.title() not in _HOPS}
        headers["Accept-Encoding"] = "identity"
        async with self._session.request(
            request.method,
            f"{self._cluster.server}{request.raw_path}",
            headers=headers,
            data=await request.read(),
            timeout=aiohttp.ClientTimeout(total=None),
        ) as answer:
            response = web.StreamResponse(status=answer.status)
            response.content_type = answer.content_type
            try:
                await response.prepare(request)
                async with asyncio.timeout(cut):
                    async for chunk in answer.content.iter_any():
                        await response.write(chunk)
                await response.write_eof()
            except BaseException as error:
                # A close would wait for the server's side of TLS, longer than the loop may live.
                if answer.connection is not None and answer.connection.transport is not None:
                    answer.connection.transport.abort()
                if not isinstance(error, TimeoutError):
                    raise
                if request.transport is not None:
                    request.transport.abort()
            return response


_HOPS = {"Host", "Authorization", "Content-Length", "Transfer-Encoding", "Accept-Encoding"}


def _resource(path: str) -> str:
    """``jobs`` of ``/apis/batch/v1/namespaces/n/jobs/j``."""
    parts = path.strip("/").split("/")
    if "namespaces" in parts:
        parts = parts[parts.index("namespaces") + 2 :]
        return parts[0] if parts else "namespaces"
    return parts[-1]


def never(_: web.Request) -> None:
    """No request is answered but by the server."""


def half(seed: int) -> Fault:
    """Every second request, by chance, is answered 429 or 500."""
    chance = random.Random(seed)

    def fault(_: web.Request) -> web.Response | None:
        if chance.random() < 0.5:
            return None
        if chance.random() < 0.5:
            return web.Response(status=429, headers={"Retry-After": "1"}, text="slow down")
        return web.Response(status=500, text="etcdserver: leader changed")

    return fault


@contextmanager
def proxy(cluster: Cluster, *, fault: Fault = never, cut: float | None = None) -> Iterator[Proxy]:
    """A proxy for as long as the block; watches are broken off after ``cut`` seconds."""
    made = Proxy(cluster, fault=fault, cut=cut)
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    end = asyncio.Event()
    thread = threading.Thread(target=_run, args=(loop, made.serve(ready.set, end)))
    thread.start()
    try:
        assert ready.wait(30), "the proxy does not come up"
        yield made
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()


def _run(loop: asyncio.AbstractEventLoop, serving: Coroutine[Any, Any, None]) -> None:
    # What still answers a client that has gone ends with it, and closes its connections.
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(serving)
