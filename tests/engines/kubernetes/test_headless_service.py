"""A training of several nodes has its Service, whatever was in the way when its Job was created."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path

from aiohttp import web

from reconciler.engine import RunSpec
from reconciler.engines.kubernetes.headless_service import headless_service
from reconciler.engines.kubernetes.pod_parts import ApiObject
from tests.cluster.api import eventually
from tests.cluster.cluster import Cluster
from tests.cluster.faults import proxy
from tests.cluster.fixtures import Namespace
from tests.engines.kubernetes.conftest import engine_at
from tests.engines.kubernetes.orders import bare_job, order, why
from tests.patience import PATIENCE


def two_ranks(spec: RunSpec) -> list[ApiObject]:
    ranks = partial(bare_job, completionMode="Indexed", completions=2, parallelism=2)
    return [*ranks(spec), headless_service(spec.name, spec.namespace, spec.labels)]


class NoServices:
    """Refuses them, as a quota does, for as long as it is told to."""

    def __init__(self) -> None:
        self.refuses = True

    def __call__(self, request: web.Request) -> web.Response | None:
        if not self.refuses or not request.path.endswith("/services"):
            return None
        status = {"kind": "Status", "code": 403, "message": "exceeded quota: services"}
        return web.Response(status=403, text=json.dumps(status))


async def test_a_service_that_is_refused_is_told_of_and_made_once_it_is_not(
    namespace: Namespace, control_plane: Cluster, tmp_path: Path
) -> None:
    spec, fault = order(namespace.name), NoServices()
    services = f"/api/v1/namespaces/{namespace.name}/services/{spec.name}"
    api = namespace.cluster.api
    with proxy(control_plane, fault=fault) as through:
        kubeconfig = through.kubeconfig(tmp_path / "kubeconfig")
        async with engine_at(namespace, kubeconfig=kubeconfig, render=two_ranks) as watched:
            await watched.engine.create(spec)
            assert "exceeded quota: services" in why(watched.engine.runs()[spec.name])
        # A daemon that starts while it is refused starts all the same.
        async with engine_at(namespace, kubeconfig=kubeconfig, render=two_ranks) as watched:
            assert "exceeded quota: services" in why(watched.engine.runs()[spec.name])
            assert api.find(services) is None
            fault.refuses = False
            await watched.until(lambda runs: "quota" not in why(runs[spec.name]))
            (owner,) = eventually(lambda: api.find(services), "the Service")["metadata"][
                "ownerReferences"
            ]
    assert owner["name"] == spec.name


async def test_a_service_is_not_tried_for_a_job_that_is_gone(
    namespace: Namespace, control_plane: Cluster, tmp_path: Path
) -> None:
    spec = order(namespace.name)
    with proxy(control_plane, fault=NoServices()) as through:
        kubeconfig = through.kubeconfig(tmp_path / "kubeconfig")
        async with engine_at(namespace, kubeconfig=kubeconfig, render=two_ranks) as watched:
            await watched.engine.create(spec)
            await watched.engine.delete(spec.name)
            await watched.until(lambda runs: spec.name not in runs)
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*watched.engine._services._trying)
