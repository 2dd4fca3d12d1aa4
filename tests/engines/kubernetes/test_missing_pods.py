"""A command's failure is known for one also where the watch of Pods is behind that of Jobs."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from reconciler.engine import FailureClass, RunPhase
from tests.cluster.cluster import Cluster
from tests.cluster.faults import proxy
from tests.cluster.fixtures import Namespace
from tests.engines.kubernetes.conftest import engine_at
from tests.engines.kubernetes.orders import order, terminated, why
from tests.engines.kubernetes.test_engine import kubelet


def no_watch_of_pods(request: web.Request) -> web.Response | None:
    if request.path.endswith("/pods") and request.query.get("watch") == "true":
        return web.Response(status=500, text="not today")
    return None


async def test_pods_that_no_watch_tells_of_are_asked_for_once(
    namespace: Namespace, control_plane: Cluster, tmp_path: Path
) -> None:
    spec = order(namespace.name)
    with proxy(control_plane, fault=no_watch_of_pods) as through:
        kubeconfig = through.kubeconfig(tmp_path / "kubeconfig")
        async with engine_at(namespace, kubeconfig=kubeconfig) as watched:
            before = through.asked["GET pods"]
            await watched.engine.create(spec)
            kubelet(namespace, spec.name, terminated(3, message="out of luck"))
            run = await watched.comes_to(spec, RunPhase.FAILED)
            assert run.failure is FailureClass.COMMAND
            assert "out of luck" in why(run)
            assert through.asked["GET pods"] == before + 1
