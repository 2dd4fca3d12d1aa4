"""Whoever reaches the port cannot use up connections, memory or threads."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client.metrics_core import GaugeMetricFamily

from reconciler.forge import LARGEST_BODY, Deliveries, DeliveryResult
from reconciler.forge.webhook import LARGEST_KEPT
from reconciler.metrics import Metrics
from reconciler.web import server
from reconciler.web.limits import REMEMBERED_ADDRESSES, RequestRates, Spaced
from reconciler.web.server import Served, serve

SECRET = b"a secret"
GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
FINE = b"HTTP/1.1 200 OK"

Connect = Callable[..., "asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]"]


class Listener:
    """A server and its open connections."""

    def __init__(self, port: int, served: Served) -> None:
        self.port = port
        self.served = served
        self.writers: list[asyncio.StreamWriter] = []

    async def connect(
        self, sent: bytes = b"", *, address: str = "127.0.0.1"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, local_addr=(address, 0)
        )
        self.writers.append(writer)
        writer.write(sent)
        return reader, writer

    async def answer(self, sent: bytes = GET, *, address: str = "127.0.0.1") -> bytes:
        """The first line of the answer to what is sent on a connection of its own."""
        reader, _ = await self.connect(sent, address=address)
        return (await reader.readline()).rstrip()


@asynccontextmanager
async def listener(
    tmp_path: Path,
    *,
    connections: int | None = None,
    idle: float = 60.0,
    pushed: Callable[[], None] = lambda: None,
    limits: RequestRates | None = None,
) -> AsyncIterator[Listener]:
    (tmp_path / "secret").write_bytes(SECRET)
    served = Served(
        metrics=Metrics(),
        ready=lambda: True,
        pushed=pushed,
        branches=("main",),
        secret_file=tmp_path / "secret",
        rates=limits or RequestRates(),
    )
    async with serve("127.0.0.1:0", served, connections=connections, idle=idle) as address:
        assert address is not None
        found = Listener(int(address.rpartition(":")[2]), served)
        try:
            yield found
        finally:
            for writer in found.writers:
                writer.transport.abort()


async def closed(reader: asyncio.StreamReader) -> bool:
    """Wait for the end of a connection on which nothing comes."""
    try:
        return await reader.read(1) == b""
    except ConnectionError:
        return True


# -- connections ---------------------------------------------------------------------------


async def test_idle_connections_beyond_the_bound_are_closed_the_oldest_first(
    tmp_path: Path,
) -> None:
    async with listener(tmp_path, connections=4) as to:
        idle = [await to.connect() for _ in range(12)]
        for reader, _ in idle[:8]:
            assert await closed(reader)
        assert await to.answer() == FINE


async def test_one_address_does_not_take_the_connections_of_another(tmp_path: Path) -> None:
    async with listener(tmp_path, connections=4) as to:
        reader, writer = await to.connect(address="127.0.0.2")
        flood = [await to.connect() for _ in range(12)]
        assert await closed(flood[0][0])
        writer.write(GET)
        assert (await reader.readline()).rstrip() == FINE


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: a\r\n"])
async def test_a_connection_without_a_whole_request_is_closed(tmp_path: Path, sent: bytes) -> None:
    async with listener(tmp_path, idle=0.05) as to:
        reader, _ = await to.connect(sent)
        assert await closed(reader)


async def test_a_connection_that_asks_no_more_is_closed(tmp_path: Path) -> None:
    async with listener(tmp_path, idle=0.05) as to:
        reader, _ = await to.connect(GET)
        assert (await reader.read()).startswith(FINE)


async def test_a_request_that_does_not_end_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "DEADLINE", 0.05)
    async with listener(tmp_path) as to:
        reader, _ = await to.connect(post(b"", length=1000, signature="0" * 64))
        assert await closed(reader)


# -- webhooks ------------------------------------------------------------------------------


def post(body: bytes, *, length: int | None = None, signature: str | None = None) -> bytes:
    signature = signature if signature is not None else signed(body)
    head = f"POST /webhook HTTP/1.1\r\nHost: a\r\nContent-Length: {length or len(body)}\r\n"
    return f"{head}X-Signature-256: sha256={signature}\r\n\r\n".encode() + body


def signed(body: bytes) -> str:
    return hmac.new(SECRET, body, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("signature", ["", "00", "0" * 63])
async def test_an_unsigned_delivery_is_refused_before_its_body(
    tmp_path: Path, signature: str
) -> None:
    async with listener(tmp_path) as to:
        sent = post(b"", length=24 << 20, signature=signature)
        assert await to.answer(sent) == b"HTTP/1.1 403 Forbidden"


async def test_a_delivery_that_is_too_large_is_refused_before_its_body(tmp_path: Path) -> None:
    async with listener(tmp_path) as to:
        sent = post(b"", length=LARGEST_BODY + 1, signature="0" * 64)
        assert (await to.answer(sent)).startswith(b"HTTP/1.1 413 ")


async def test_a_body_without_a_length_is_read_up_to_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LARGEST_BODY", 1000)
    head = b"POST /webhook HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
    head += b"X-Signature-256: sha256=" + b"0" * 64 + b"\r\n\r\n"
    async with listener(tmp_path) as to:
        sent = head + b"3e9\r\n" + b"x" * 1001
        assert (await to.answer(sent)).startswith(b"HTTP/1.1 413 ")


def test_of_a_body_no_more_than_its_beginning_is_kept() -> None:
    body = b'{"ref": "refs/heads/other", "commits": ["' + b"x" * (2 * LARGEST_KEPT) + b'"]}'
    deliveries = Deliveries(("main",))
    delivery = deliveries.begin({"x-signature-256": signed(body)}, SECRET)
    assert delivery is not None
    for start in range(0, len(body), 1000):
        delivery.feed(body[start : start + 1000])
    assert len(delivery.kept) == LARGEST_KEPT
    # It is signed, and may be about the branch.
    assert deliveries.end(delivery) is DeliveryResult.ACCEPTED


async def test_many_signed_deliveries_poll_a_bounded_number_of_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "POLL_SPACING", 3600.0)
    polls: list[None] = []
    async with listener(tmp_path, pushed=lambda: polls.append(None)) as to:
        for _ in range(2 * server.POLL_BURST):
            assert await to.answer(post(b"{}")) == b"HTTP/1.1 202 Accepted"
    assert len(polls) == server.POLL_BURST


@pytest.mark.parametrize("burst", [1, 3])
async def test_a_call_beyond_the_burst_is_made_after_it(burst: int) -> None:
    calls: asyncio.Queue[None] = asyncio.Queue()
    spaced = Spaced(lambda: calls.put_nowait(None), 0.05, burst=burst)
    for _ in range(burst + 4):
        spaced()
    assert calls.qsize() == burst
    for _ in range(burst + 1):
        await calls.get()
    assert calls.empty()


# -- scrapes and rates ---------------------------------------------------------------------


async def test_a_scrape_needs_no_thread_of_a_sync(tmp_path: Path) -> None:
    loop, free = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(max_workers=1))
    busy = loop.run_in_executor(None, free.wait)
    try:
        async with listener(tmp_path) as to:
            assert await to.answer(GET.replace(b"healthz", b"metrics")) == FINE
    finally:
        free.set()
        await busy


async def test_scrapes_of_a_flood_share_one_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "REUSE", 1e9)
    collected: list[None] = []

    class Collector:
        def collect(self) -> Iterable[GaugeMetricFamily]:
            collected.append(None)
            return ()

    async with listener(tmp_path) as to:
        to.served.metrics.registry.register(Collector())
        collected.clear()
        request = GET.replace(b"healthz", b"metrics")
        answers = await asyncio.gather(*(to.answer(request) for _ in range(20)))
    assert answers == [FINE] * 20
    assert len(collected) == 1


async def test_requests_beyond_the_rate_are_refused_to_their_address_alone(tmp_path: Path) -> None:
    limits = RequestRates(rate=0.001, burst=3, patience=0.0)
    async with listener(tmp_path, limits=limits) as to:
        answers = [await to.answer() for _ in range(5)]
        assert answers == [FINE] * 3 + [b"HTTP/1.1 429 Too Many Requests"] * 2
        assert await to.answer(address="127.0.0.2") == FINE


def test_a_request_beyond_the_rate_waits_for_its_turn() -> None:
    now = 100.0
    limits = RequestRates(rate=10.0, burst=2, patience=0.25, clock=lambda: now)
    delays = [limits.delay("a") for _ in range(5)]
    assert delays == pytest.approx([0.0, 0.0, 0.1, 0.2, None])
    now = 200.0
    assert limits.delay("a") == 0.0


def test_the_addresses_that_are_remembered_are_bounded() -> None:
    limits = RequestRates()
    for number in range(2 * REMEMBERED_ADDRESSES):
        limits.delay(str(number))
    assert len(limits._full) == REMEMBERED_ADDRESSES
