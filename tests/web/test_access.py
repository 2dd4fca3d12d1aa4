"""Who may see the page: browsers on this machine that ask for it by that name, or a named host."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from multidict import CIMultiDictProxy

from reconciler.engines.local import LocalLogs, LocalProgress
from reconciler.metrics import Metrics
from reconciler.web.server import Served, serve
from reconciler.web.site import Site
from reconciler.web.snapshot import PageCache
from tests.planner.world import scratch
from tests.web.catalogs import world


async def standing_by() -> Sequence[str]:
    return ("standing by",)


@asynccontextmanager
async def served(
    *hosts: str, page: bool = True, address: str = "0.0.0.0:0", secret: bytes = b""
) -> AsyncIterator[str]:
    """A server on all addresses, or on one; yields its port."""
    of, cache = world(m=scratch("m")), PageCache()
    cache.update(of.settle(), of.records, ())
    site = Site(
        cluster="test",
        cache=cache,
        logs=LocalLogs([]),
        progress=LocalProgress(Path("/nowhere")),
        standby=standing_by,
        troubles=tuple,
        hosts=hosts,
        proxy_secret=lambda: secret,
    )
    found = Served(
        metrics=Metrics(),
        ready=lambda: True,
        pushed=lambda: None,
        branches=("main",),
        page=site if page else None,
    )
    async with serve(address, found) as bound:
        assert bound is not None
        assert bound.startswith(address.rpartition(":")[0])
        yield bound.rpartition(":")[2]


async def ask(
    url: str, method: str = "GET", **headers: str
) -> tuple[int, CIMultiDictProxy[str], str]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, headers=headers) as answer,
    ):
        return answer.status, answer.headers, await answer.text()


async def answer(
    path: str, method: str = "GET", **headers: str
) -> tuple[int, CIMultiDictProxy[str], str]:
    """What a server that is asked once for a path of its loopback says."""
    async with served() as port:
        return await ask(f"http://127.0.0.1:{port}{path}", method, **headers)


def ipv6() -> bool:
    """Whether this machine's loopback has an address of IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def own_address() -> str:
    """An address of this machine that is not the loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # of a datagram nothing is sent
        except OSError:
            pytest.skip("this machine has no other address")
        address: str = probe.getsockname()[0]
        return address


async def test_an_address_of_ipv6_is_in_brackets() -> None:
    if not ipv6():
        pytest.skip("this machine has no IPv6")
    async with served(address="[::1]:0") as port:
        status, _, _ = await ask(f"http://[::1]:{port}/healthz")
    assert status == 200


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "[::1]:8080"])
async def test_a_browser_on_this_machine_sees_it(host: str) -> None:
    status, _, text = await answer("/", Host=host)
    assert status == 200
    assert "1 Ready" in re.sub(r"<[^>]+>", "", text)


@pytest.mark.parametrize(
    "host", ["evil.example.com", "localhost.evil.example.com", "127.0.0.1.nip.io", "10.0.0.1", ""]
)
@pytest.mark.parametrize("path", ["/", "/objects/default/models/m", "/static/page.css", "/none"])
async def test_a_name_that_was_pointed_here_sees_nothing(host: str, path: str) -> None:
    status, _, text = await answer(path, Host=host, Accept="text/html")
    assert status in (403, 404)
    assert "<html" not in text
    assert (await answer("/healthz", Host=host))[0] == 200


async def test_other_machines_see_nothing_whatever_they_say_they_ask_for() -> None:
    async with served() as port:
        status, _, text = await ask(f"http://{own_address()}:{port}/", Host="localhost")
        assert status == 403
        assert "server.hosts" in text
        assert (await ask(f"http://{own_address()}:{port}/metrics"))[0] == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
async def test_a_proxy_on_this_machine_does_not_pass_for_a_browser(header: str) -> None:
    assert (await answer("/", **{header: "for=203.0.113.9"}))[0] == 403
    async with served("models.example.com") as port:
        url = f"http://127.0.0.1:{port}/"
        host = {"Host": "models.example.com"}
        assert (await ask(url, **host, **{header: "for=203.0.113.9"}))[0] == 200


async def test_a_configured_name_is_answered_to_a_proxy_that_has_the_secret() -> None:
    async with served("models.example.com", secret=b"proxy secret") as port:
        url, host = f"http://{own_address()}:{port}/", {"Host": "models.example.com"}
        proxy = {"X-Reconciler-Proxy-Secret": "proxy secret"}
        assert (await ask(url, **host, **proxy))[0] == 200
        assert (await ask(url, **proxy, Host="other.example.com"))[0] == 403


@pytest.mark.parametrize("secret", [b"", b"proxy secret"])
@pytest.mark.parametrize("sent", ["", "another"])
async def test_the_name_alone_opens_the_page_to_nobody(secret: bytes, sent: str) -> None:
    async with served("models.example.com", secret=secret) as port:
        url = f"http://{own_address()}:{port}/objects/default/models/m"
        headers = {"X-Reconciler-Proxy-Secret": sent} if sent else {}
        status, _, text = await ask(url, Host="models.example.com", Accept="text/html", **headers)
    assert status == 403
    assert "server.proxySecretFile" in text
    assert "<html" not in text


async def test_without_a_page_there_is_none() -> None:
    async with served(page=False) as port:
        assert (await ask(f"http://127.0.0.1:{port}/"))[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/", "/objects/default/models/m", "/static/page.js"])
async def test_only_get_and_head_are_allowed(method: str, path: str) -> None:
    status, headers, _ = await answer(path, method)
    assert status == 405
    assert headers["Allow"] == "GET,HEAD"


async def test_a_head_has_the_headers_of_a_get_and_no_body() -> None:
    status, headers, text = await answer("/", "HEAD")
    assert (status, text) == (200, "")
    assert headers["ETag"]


@pytest.mark.parametrize("path", ["/", "/objects/default/models/m", "/static/page.js"])
async def test_what_has_not_changed_is_not_sent_again(path: str) -> None:
    async with served() as port:
        url = f"http://127.0.0.1:{port}{path}"
        tag = (await ask(url))[1]["ETag"]
        status, headers, text = await ask(url, **{"If-None-Match": tag})
    assert (status, text, headers["ETag"]) == (304, "", tag)


@pytest.mark.parametrize(
    "path",
    [
        "/none",
        "/objects",
        "/objects/default/models/none",
        "/objects/default/pods/m",
        "/objects/default/models/%3Cscript%3E",
        "/static/none.css",
        "/static/..%2f..%2frender.py",
        "/static/%2e%2e/render.py",
    ],
)
async def test_what_is_nowhere_is_told_so_as_a_page(path: str) -> None:
    status, headers, text = await answer(path, Accept="text/html")
    assert status == 404
    assert "Not found" in text
    assert "<script>alert" not in text
    assert "default-src 'none'" in headers["Content-Security-Policy"]
