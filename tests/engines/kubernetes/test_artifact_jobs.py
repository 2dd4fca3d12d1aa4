"""One Job at a time collects in a part of a bucket, and none outlives who waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine import (
    ArtifactOrder,
    EngineError,
    JobEndedError,
    OrderKind,
    PodRefusedError,
    Wanted,
)
from reconciler.engines.kubernetes.artifact_collection import ArtifactJobs, render_collection
from reconciler.types import TaskKey, TaskKind
from tests.cluster.api import eventually
from tests.cluster.fixtures import Namespace
from tests.engines.kubernetes.conftest import Watched
from tests.engines.kubernetes.orders import terminated
from tests.engines.kubernetes.specs import settings_of

KEY = TaskKey("1" * 40)


class Site:
    """The Jobs of an engine in a namespace, whose pods nothing runs."""

    def __init__(self, watched: Watched, namespace: Namespace, folder: Path) -> None:
        self.namespace = namespace
        settings = settings_of(folder, buckets={"default": {"url": "pvc://models"}})
        self.jobs: ArtifactJobs = watched.engine.artifact_jobs(
            lambda part, orders, expires: render_collection(part, orders, settings, expires=expires)
        )

    def order(self, namespace: str = "") -> list[ArtifactOrder]:
        place = namespace or self.namespace.name
        url = f"pvc://models/clusters/c/namespaces/{place}/models/a/{KEY}/"
        return [ArtifactOrder(OrderKind.HIDE, Wanted(TaskKind.TRAIN, KEY, url))]

    def there(self) -> list[Any]:
        return self.namespace.cluster.api.items(self.namespace.jobs)

    def uids(self) -> list[str]:
        return [
            job["metadata"]["uid"]
            for job in self.there()
            if "deletionTimestamp" not in job["metadata"]
        ]

    def pods(self) -> list[str]:
        return [
            pod["metadata"]["labels"]["batch.kubernetes.io/controller-uid"]
            for pod in self.namespace.cluster.api.items(self.namespace.pods)
        ]


async def until(condition: Callable[[], object]) -> None:
    await asyncio.to_thread(eventually, condition, "a state of Jobs and pods")


@pytest.fixture
def site(watched: Watched, namespace: Namespace, tmp_path: Path) -> Site:
    return Site(watched, namespace, tmp_path)


async def test_the_job_goes_with_who_waits_for_it(site: Site) -> None:
    waiting = asyncio.create_task(site.jobs.carry_out(site.order()))
    await until(site.pods)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    await until(lambda: not site.there() and not site.pods())


async def test_the_next_job_is_created_once_no_pod_of_the_last_is_left(site: Site) -> None:
    first = asyncio.create_task(site.jobs.carry_out(site.order()))
    await until(site.pods)
    (before,) = site.uids()
    second = asyncio.create_task(site.jobs.carry_out(site.order()))
    await until(lambda: before not in site.uids() and site.pods())
    assert before not in site.pods()
    # Whoever waits for the first reads nothing of the second, and leaves it alone.
    assert isinstance((await first)[KEY], JobEndedError)
    assert len(site.uids()) == 1
    second.cancel()
    await asyncio.wait([second])


async def test_a_job_of_the_name_that_is_not_ours_is_left_alone(site: Site) -> None:
    first = asyncio.create_task(site.jobs.carry_out(site.order()))
    await until(site.there)
    name = site.there()[0]["metadata"]["name"]
    first.cancel()
    await asyncio.wait([first])
    await until(lambda: not site.there())
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
    theirs = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"suspend": True, "template": {"spec": pod}},
    }
    site.namespace.cluster.api.create(site.namespace.jobs, theirs)
    found = (await site.jobs.carry_out(site.order()))[KEY]
    assert "not ours" in str(found)
    assert len(site.uids()) == 1


async def test_no_job_is_created_in_a_namespace_that_is_not_watched(site: Site) -> None:
    found = await site.jobs.carry_out(site.order("default"))
    assert isinstance(found[KEY], EngineError)
    listed = await site.jobs.list_artifacts(order.artifact for order in site.order("default"))
    assert isinstance(listed[KEY], EngineError)


async def test_a_pod_with_the_name_of_the_job_says_nothing(site: Site) -> None:
    api, pods = site.namespace.cluster.api, site.namespace.pods
    waiting = asyncio.create_task(site.jobs.carry_out(site.order()))
    await until(site.pods)
    (own,) = api.items(pods)
    labels = {"batch.kubernetes.io/job-name": site.there()[0]["metadata"]["name"]}
    api.create(
        pods,
        {
            "metadata": {"name": "a-pod-of-others", "labels": labels},
            "spec": {"nodeName": "elsewhere", "containers": [{"name": "main", "image": "i"}]},
        },
    )
    for name in ("a-pod-of-others", own["metadata"]["name"]):
        api.request("PATCH", f"{pods}/{name}/status", {"status": terminated(0)})
    # That of the Job has no node, and so an empty log; the other's cannot be asked.
    found = str((await waiting)[KEY])
    assert "no whole list" in found
    assert "elsewhere" not in found


async def test_a_job_that_gets_no_pod_is_not_waited_for(site: Site) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    path = f"/api/v1/namespaces/{site.namespace.name}"
    site.namespace.cluster.api.request("PATCH", path, {"metadata": {"labels": labels}})
    found = [(await site.jobs.carry_out(site.order()))[KEY] for _ in range(2)]
    assert all(isinstance(each, PodRefusedError) for each in found)
    assert "restricted" in str(found[0])
    assert str(found[0]) == str(found[1]), "the name of the pod is not told"
    assert isinstance(await site.jobs.probe(site.order()[0].artifact), PodRefusedError)
    waiting = asyncio.create_task(site.jobs.list_artifacts([site.order()[0].artifact]))
    await until(site.pods)  # that of a Job that lists is admitted
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_jobs_are_no_runs(site: Site, watched: Watched) -> None:
    waiting = asyncio.create_task(site.jobs.list_artifacts([site.order()[0].artifact]))
    await until(site.pods)
    assert not watched.engine.runs()
    waiting.cancel()
    await asyncio.wait([waiting])
