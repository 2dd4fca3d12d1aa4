"""A daemon in front of a cluster serves the documented metrics, from what the cluster says."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import ClusterSite, daemon
from tests.e2e.panels import as_grafana_asks, missing, on_a_cluster, panel_queries
from tests.e2e.prometheus import check_metrics, prometheus, tool
from tests.e2e.site import until
from tests.e2e.test_operation import get
from tests.engines.kubernetes.orders import running, terminated
from tests.metrics.watched import documented, served

#: What the wrapper says last: the command has used two GPUs for a minute.
USED = {"v": 1, "state": "complete", "attempt": 1, "exitCode": 0, "seconds": 60, "gpuSeconds": 120}
GPU = "    resources: {gpu: {count: 2}}\n"


@pytest.fixture
def site(tmp_path: Path, namespace: Namespace) -> ClusterSite:
    site = ClusterSite(tmp_path, namespace)
    place = {"namespace": namespace.name, "namespaces": [namespace.name], "lease": "4s"}
    gpus = {"any": {"resource": "example.com/gpu"}}
    site.configure(
        server={"address": "127.0.0.1:0"},
        kubernetes={**place, "instance": site.instance, "gpus": gpus},
    )
    return site


class Served:
    """What a replica serves, asked anew each time."""

    def __init__(self, site: ClusterSite, replica: str = "one") -> None:
        self._site, self._replica = site, replica

    @property
    def address(self) -> str:
        log = self._site.log_of(self._replica)
        found: list[str] = re.findall(r'"address": "([^"]+)", "event": "listening"', log)
        return found[-1] if found else ""

    def text(self) -> str:
        return get(f"http://{self.address}/metrics") if self.address else ""

    def families(self) -> Iterator[Metric]:
        yield from text_string_to_metric_families(self.text())

    def value(self, name: str, /, **labels: str) -> float | None:
        for family in self.families():
            for sample in family.samples:
                if sample.name == f"reconciler_{name}" and sample.labels == labels:
                    return sample.value
        return None

    def ended(self, result: str) -> float | None:
        return self.value("runs_ended_total", task="train", result=result)

    def objects(self) -> float:
        found = [f for f in self.families() if f.name == "reconciler_objects"]
        return sum(sample.value for family in found for sample in family.samples)


def test_the_metrics_served_on_a_cluster_are_those_that_are_documented(site: ClusterSite) -> None:
    site.model("a", more=GPU)
    site.push_model("b")
    told = Served(site)
    of_a = {"kind": "Model", "namespace": site.namespace.name}
    with daemon(site):
        job = site.job("a")
        until(lambda: told.value("gpus_requested") == 2, what="a to be asked for")
        assert told.value("gpus_in_use") == 0
        assert told.value("leader") == 1
        site.kubelet(job, running())
        until(lambda: told.value("gpus_in_use") == 2, what="a to run")
        assert told.value("run_queue_duration_seconds_count", task="train") == 1
        site.kubelet(job, terminated(0, message=json.dumps(USED)))
        site.kubelet(site.job("b"), terminated(3))
        until(lambda: told.ended("succeeded") == 1, what="a run that has succeeded")
        until(lambda: told.ended("failed") == 1, what="a run that has failed")
        families = list(told.families())
        check_metrics(told.text())
        (used,) = next(f for f in families if f.name == "reconciler_gpu_seconds").samples
        # Those of the pod, from its start, which is more than what its command says of itself.
        assert (used.labels, used.value > 120) == ({**of_a, "name": "a"}, True)
        assert served(families) == documented()


def test_requests_to_the_api_server_are_counted(site: ClusterSite, tmp_path: Path) -> None:
    server = tool("prometheus")
    site.push_model("a")
    told = Served(site)
    with daemon(site):
        site.job("a")
        assert told.value("api_requests_total", method="POST", code="201")
        asked = [as_grafana_asks(query) for query in panel_queries() if on_a_cluster(query)]
        assert len(asked) == 1
        with prometheus(server, told.address, tmp_path) as at:
            until(lambda: not missing(at, asked), what="an answer")


def test_a_replica_that_was_overtaken_knows_of_no_objects(site: ClusterSite) -> None:
    site.push_model("a")
    first, second = Served(site), Served(site, "two")
    with daemon(site) as one:
        until(lambda: first.objects() == 1, what="the first to lead")
        with daemon(site, "two"):
            until(lambda: "standing by" in site.log_of("two"), what="the other to stand by")
            assert second.objects() == 0
            one.send_signal(signal.SIGSTOP)
            until(lambda: second.objects() == 1, what="the other to take over")
            one.send_signal(signal.SIGCONT)
            until(lambda: first.value("leader") == 0, what="the first to notice")
            assert first.objects() == 0
            assert second.objects() == 1
