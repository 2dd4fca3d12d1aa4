"""Which pods' logs are read, on a real API server; tests/e2e/test_node_logs.py reads them."""

from __future__ import annotations

from dataclasses import replace

from reconciler.engine import LogOf, NoTail, RunSpec
from reconciler.engines.kubernetes.client import Api
from reconciler.engines.kubernetes.logs import PodLogs
from reconciler.types import Kind, ObjectRef, TaskKind
from tests.cluster.api import eventually
from tests.cluster.fixtures import Namespace
from tests.engines.kubernetes.conftest import Watched
from tests.engines.kubernetes.orders import order, running
from tests.engines.kubernetes.test_engine import kubelet, pods


async def told(namespace: Namespace, log: LogOf) -> str:
    kubeconfig = str(namespace.cluster.kubeconfig)
    found = await PodLogs(lambda: Api.connect(kubeconfig=kubeconfig)).tail(log, 1 << 20)
    assert isinstance(found, NoTail), "no kubelet, no log"
    return found.message


def log_of(spec: RunSpec) -> LogOf:
    assert spec.object is not None
    return LogOf(object=spec.object, task=TaskKind.TRAIN, run=spec.name)


async def test_a_run_that_has_not_started_has_no_log(
    watched: Watched, namespace: Namespace
) -> None:
    spec = await watched.ordered(namespace)
    assert await told(namespace, log_of(spec)) == (
        "There is no pod of its newest attempt in the cluster."
    )


async def test_a_log_that_cannot_be_read_is_told_with_where_it_will_be(
    watched: Watched, namespace: Namespace
) -> None:
    spec = await watched.ordered(namespace)
    pod = eventually(lambda: pods(namespace, spec.name), "its pod")[0]["metadata"]["name"]
    gone = {"metadata": {"name": pod}, "target": {"kind": "Node", "name": "gone"}}
    namespace.cluster.api.request("POST", f"{namespace.pods}/{pod}/binding", gone)
    kubelet(namespace, spec.name, running())
    url = f"{spec.output}logs/attempt-1.log"
    reason = await told(namespace, replace(log_of(spec), url=url))
    assert reason.startswith("Its pod's log cannot be read: ")
    assert reason.endswith(f"; the newest log in its bucket is {url}")


async def test_a_status_that_names_somebody_else_s_run_is_not_believed(
    watched: Watched, namespace: Namespace
) -> None:
    spec = await watched.ordered(namespace)
    kubelet(namespace, spec.name, running())
    mine = log_of(spec)
    other = ObjectRef(Kind.MODEL, namespace.name, "other")
    for wrong in (replace(mine, object=other), replace(mine, task=TaskKind.LOAD)):
        assert "There is no pod" in await told(namespace, wrong)


async def test_a_cluster_that_is_away_is_told(namespace: Namespace) -> None:
    log = log_of(order(namespace.name))
    found = await PodLogs(lambda: Api.connect(context="nowhere")).tail(log, 1 << 20)
    assert isinstance(found, NoTail)
    assert "no cluster can be reached" in found.message
