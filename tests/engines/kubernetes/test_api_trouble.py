"""An API server that is overloaded, starting or gone: what it would not do on demand, played."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from reconciler.engines.kubernetes.api_errors import ApiError, Forbidden, Rejected, Unreachable
from reconciler.engines.kubernetes.client import CONNECTIONS, TRIES, Api
from tests.cluster.kubeconfig import write_kubeconfig

Answer = Callable[[int], web.Response]


class Pauses(list[float]):
    """The delays between tries, which do not pass."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


@asynccontextmanager
async def server(
    answer: Answer, folder: Path, pause: Pauses
) -> AsyncIterator[tuple[Api, list[str]]]:
    """An API server that gives the n-th request the n-th answer, and what it was asked."""
    asked: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        asked.append(request.method)
        return answer(len(asked))

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    there = {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}
    file = write_kubeconfig(folder / "kubeconfig", there, {"token": "t"})
    api = await Api.connect(kubeconfig=str(file), pause=pause)
    try:
        yield api, asked
    finally:
        await api.close()
        await runner.cleanup()


@pytest.fixture
def slept() -> Pauses:
    return Pauses()


async def test_an_overloaded_server_is_asked_again_after_as_long_as_it_says(
    tmp_path: Path, slept: Pauses
) -> None:
    def answer(number: int) -> web.Response:
        if number < 3:
            return web.Response(status=429, headers={"Retry-After": "7"}, text="slow down")
        return web.Response(text="{}")

    async with server(answer, tmp_path, slept) as (api, asked):
        assert await api.get("/api") == b"{}"
    assert len(asked) == 3
    assert all(7 <= delay <= 10.5 for delay in slept)


async def test_a_server_that_asks_for_an_hour_is_not_waited_for_that_long(
    tmp_path: Path, slept: Pauses
) -> None:
    def answer(_: int) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": "3600"})

    async with server(answer, tmp_path, slept) as (api, asked):
        with pytest.raises(Unreachable, match="answered 503"):
            await api.get("/api")
    assert len(asked) == TRIES
    assert max(slept) <= 15


async def test_tries_are_bounded_and_further_and_further_apart(
    tmp_path: Path, slept: Pauses
) -> None:
    async with server(lambda _: web.Response(status=500), tmp_path, slept) as (api, asked):
        with pytest.raises(Unreachable) as caught:
            await api.create("/api", {})
    assert len(asked) == TRIES
    assert slept == sorted(slept)
    assert not caught.value.permanent


@pytest.mark.parametrize(
    ("status", "kind", "permanent"), [(403, Forbidden, False), (422, Rejected, True)]
)
async def test_what_will_not_change_by_itself_is_not_asked_again(
    tmp_path: Path, slept: Pauses, status: int, kind: type[ApiError], permanent: bool
) -> None:
    told = json.dumps({"kind": "Status", "code": status, "message": "because"})

    def answer(_: int) -> web.Response:
        return web.Response(status=status, text=told)

    async with server(answer, tmp_path, slept) as (api, asked):
        with pytest.raises(kind, match="because") as caught:
            await api.create("/api", {})
    assert (len(asked), slept, caught.value.permanent) == (1, [], permanent)


async def test_what_conflicts_with_others_over_a_quota_is_sent_again(
    tmp_path: Path, slept: Pauses
) -> None:
    message = (
        'Operation cannot be fulfilled on resourcequotas "q": the object has been modified; please '
        "apply your changes to the latest version and try again"
    )
    details = {"name": "q", "kind": "resourcequotas"}
    status = {"kind": "Status", "code": 409, "reason": "Conflict", "details": details}
    told = json.dumps({**status, "message": message})

    def answer(number: int) -> web.Response:
        return web.Response(status=409, text=told) if number < 3 else web.Response(text="{}")

    async with server(answer, tmp_path, slept) as (api, asked):
        assert await api.create("/api", {}) == b"{}"
    assert len(asked) == 3


async def test_who_is_deposed_between_two_tries_does_not_try_again(
    tmp_path: Path, slept: Pauses
) -> None:
    async with server(lambda _: web.Response(status=503), tmp_path, slept) as (api, asked):
        deposed = api.guarded(lambda: not slept)
        with pytest.raises(ApiError, match="does not lead"):
            await deposed.create("/api", {})
        with pytest.raises(ApiError, match="does not lead"):
            await deposed.delete("/api", {})
        assert asked == ["POST"]
        with pytest.raises(Unreachable):
            await deposed.get("/api")


async def test_an_update_whose_answer_was_lost_is_not_sent_again(
    tmp_path: Path, slept: Pauses
) -> None:
    async with server(lambda _: web.Response(status=502), tmp_path, slept) as (api, asked):
        with pytest.raises(Unreachable):
            await api.replace("/api", {})
    assert asked == ["PUT"]


async def test_a_server_that_is_not_there_is_said_to_be_so(tmp_path: Path, slept: Pauses) -> None:
    async with server(lambda _: web.Response(text="{}"), tmp_path, slept) as (api, _):
        await api.get("/api")
    file = write_kubeconfig(tmp_path / "gone", {"server": "http://127.0.0.1:1"}, {"token": "t"})
    gone = await Api.connect(kubeconfig=str(file), pause=slept)
    try:
        with pytest.raises(Unreachable, match="the API server cannot be reached"):
            await gone.get("/api")
    finally:
        await gone.close()
    assert len(slept) == TRIES - 1


async def test_a_netrc_that_names_the_server_is_not_read(
    tmp_path: Path, slept: Pauses, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with server(lambda _: web.Response(text="{}"), tmp_path, slept) as (api, _):
        assert await api.get("/api") == b"{}"


async def test_a_server_is_asked_through_the_proxy_of_the_environment(
    tmp_path: Path, slept: Pauses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What plays the server is the proxy: it answers for any host."""
    async with server(lambda _: web.Response(text="{}"), tmp_path, slept) as (_, asked):
        near = json.loads((tmp_path / "kubeconfig").read_text())["clusters"][0]["cluster"]["server"]
        file = write_kubeconfig(tmp_path / "far", {"server": "http://far.invalid"}, {"token": "t"})
        monkeypatch.setenv("http_proxy", near)
        for excepted, there in (("near.invalid", True), ("far.invalid", False)):
            monkeypatch.setenv("no_proxy", excepted)
            far = await Api.connect(kubeconfig=str(file), pause=slept)
            try:
                if there:
                    assert await far.get("/api") == b"{}"
                else:
                    with pytest.raises(Unreachable):
                        await far.get("/api")
            finally:
                await far.close()
    assert asked == ["GET"]


async def test_watches_of_many_namespaces_leave_connections_for_requests(
    tmp_path: Path, slept: Pauses
) -> None:
    """Each namespace has a watch of its Jobs, and one of its pods, which hold theirs for good."""
    over = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.Response(text="{}")
        stream = web.StreamResponse()
        await stream.prepare(request)
        await over.wait()
        return stream

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    there = {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}
    file = write_kubeconfig(tmp_path / "kubeconfig", there, {"token": "t"})
    api = await Api.connect(kubeconfig=str(file), pause=slept)
    try:
        async with AsyncExitStack() as stack:
            for _ in range(2 * CONNECTIONS):
                await stack.enter_async_context(api.watch("/api", {"watch": "1"}, silence=600))
            assert await api.get("/api") == b"{}"
    finally:
        over.set()
        await api.close()
        await runner.cleanup()
