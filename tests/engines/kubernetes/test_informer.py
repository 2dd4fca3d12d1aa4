"""What is known of the cluster stays current, whatever happens to the watch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from reconciler.engines.kubernetes.api_errors import ApiError
from reconciler.engines.kubernetes.api_types import Job
from reconciler.engines.kubernetes.client import Api
from reconciler.engines.kubernetes.informer import JOBS, Informer
from tests.cluster.api import eventually
from tests.cluster.cluster import Cluster
from tests.cluster.fixtures import Namespace
from tests.engines.kubernetes.orders import INSTANCE, bare_job, order
from tests.engines.kubernetes.test_api_trouble import Pauses, server
from tests.patience import PATIENCE

SELECTOR = f"substratus.ai/instance={INSTANCE}"


class Looking:
    def __init__(self, cache: Informer[Job], event: asyncio.Event) -> None:
        self.cache = cache
        self._event = event

    def names(self) -> set[str]:
        return {job.metadata.name for job in self.cache}

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._event.clear()
                await self._event.wait()


@asynccontextmanager
async def looking(cluster: Cluster, namespace: str) -> AsyncIterator[Looking]:
    api = await Api.connect(kubeconfig=str(cluster.kubeconfig))
    event = asyncio.Event()
    cache = Informer(api, JOBS, Job, selector=SELECTOR, changed=event.set, namespace=namespace)
    task = asyncio.create_task(cache.run())
    try:
        async with asyncio.timeout(PATIENCE):
            await cache.synced.wait()
        yield Looking(cache, event)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await api.close()


def put(cluster: Cluster, namespace: str, name: str) -> str:
    (job,) = bare_job(order(namespace, name), suspend=True)
    cluster.api.create(f"/apis/batch/v1/namespaces/{namespace}/jobs", job)
    return order(namespace, name).name


async def test_what_comes_changes_and_goes_is_seen(namespace: Namespace) -> None:
    cluster, place = namespace.cluster, namespace.name
    before = put(cluster, place, "before")
    async with looking(cluster, place) as seen:
        assert seen.names() == {before}
        after = put(cluster, place, "after")
        await seen.until(lambda: seen.names() == {before, after})
        cluster.api.request(
            "PATCH", f"{namespace.jobs}/{after}", {"metadata": {"annotations": {"new": "yes"}}}
        )
        await seen.until(lambda: any("new" in job.metadata.annotations for job in seen.cache))
        cluster.api.delete(f"{namespace.jobs}/{before}")
        await seen.until(lambda: seen.names() == {after})
        assert seen.cache.relists == 1


async def test_a_list_of_many_pages_is_one_list(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.engines.kubernetes.informer.PAGE", 2)
    names = {put(namespace.cluster, namespace.name, f"m{n}") for n in range(5)}
    async with looking(namespace.cluster, namespace.name) as seen:
        assert seen.names() == names


async def test_a_version_that_the_server_has_forgotten_is_listed_anew(
    namespace: Namespace,
) -> None:
    async with looking(namespace.cluster, namespace.name) as seen:
        first = put(namespace.cluster, namespace.name, "first")
        await seen.until(lambda: seen.names() == {first})
        with pytest.raises(ApiError, match="too old resource version"):
            seen.cache._take(seen.cache._event.decode(_too_old()))
        # The watch that is open ends, and the next one would begin where nothing is known of.
        seen.cache._version = "1"
        seen.cache._objects.clear()
        await seen.cache._relist()
        assert seen.names() == {first}


def _too_old() -> bytes:
    status = {"code": 410, "reason": "Expired", "message": "too old resource version: 1 (9)"}
    return json.dumps({"type": "ERROR", "object": {"kind": "Status", **status}}).encode()


async def test_a_server_that_forgets_at_once_what_it_listed_is_not_asked_without_a_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(request: int) -> web.Response:  # a list, its watch, a list, its watch
        return web.Response(text='{"items": []}' if request % 2 else _too_old().decode() + "\n")

    pauses = asyncio.Queue[int]()

    async def back_off(_cache: object, _error: Exception, failures: int) -> None:
        await pauses.put(failures)
        await asyncio.Event().wait()

    monkeypatch.setattr(Informer, "_back_off", back_off)
    async with server(answer, tmp_path, Pauses()) as (api, asked):
        cache = Informer(api, JOBS, Job, selector=SELECTOR, changed=lambda: None)
        task = asyncio.create_task(cache.run())
        async with asyncio.timeout(PATIENCE):
            assert await pauses.get() == 1
        assert len(asked) == 4
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_server_that_was_away_is_watched_on(own_control_plane: Cluster) -> None:
    cluster = own_control_plane
    first = put(cluster, "default", "first")
    async with looking(cluster, "default") as seen:
        await asyncio.to_thread(cluster.stop, "apiserver")
        assert seen.names() == {first}, "what was known stays known"
        await asyncio.to_thread(cluster.start, "apiserver")
        await asyncio.to_thread(eventually, lambda: cluster.api.answers() or None, "the server")
        second = await asyncio.to_thread(put, cluster, "default", "second")
        await seen.until(lambda: seen.names() == {first, second})


async def test_a_frozen_server_is_no_error_and_is_watched_on(own_control_plane: Cluster) -> None:
    cluster = own_control_plane
    async with looking(cluster, "default") as seen:
        cluster.freeze("apiserver")
        cluster.thaw("apiserver")
        first = await asyncio.to_thread(put, cluster, "default", "first")
        await seen.until(lambda: seen.names() == {first})


async def test_objects_that_the_selector_does_not_select_are_not_kept(
    namespace: Namespace,
) -> None:
    (theirs,) = bare_job(order(namespace.name, "theirs"))
    theirs["metadata"]["labels"] = {"app": "theirs"}  # type: ignore[call-overload,index]
    namespace.cluster.api.create(namespace.jobs, theirs)
    async with looking(namespace.cluster, namespace.name) as seen:
        assert seen.names() == set()
