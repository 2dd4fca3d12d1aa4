"""A daemon in front of a cluster serves the documented metrics, from what the cluster says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import ClusterSite
from tests.e2e.prometheus import check_metrics
from tests.e2e.site import until
from tests.e2e.test_cluster import daemon
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
    """What a daemon serves, asked anew each time."""

    def __init__(self, site: ClusterSite) -> None:
        self._site = site

    def text(self) -> str:
        found = re.findall(r'"address": "([^"]+)", "event": "listening"', self._site.log_of())
        return get(f"http://{found[-1]}/metrics") if found else ""

    def families(self) -> Iterator[Metric]:
        yield from text_string_to_metric_families(self.text())

    def value(self, name: str, **labels: str) -> float | None:
        for family in self.families():
            for sample in family.samples:
                if sample.name == f"reconciler_{name}" and sample.labels == labels:
                    return sample.value
        return None

    def ended(self, result: str) -> float | None:
        return self.value("runs_ended_total", task="train", result=result)


def test_it_serves_what_is_documented(site: ClusterSite) -> None:
    site.model("a", more=GPU)
    site.model("b")
    site.push()
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
        used = next(f for f in families if f.name == "reconciler_gpu_seconds").samples
        assert [(s.labels, s.value) for s in used] == [({**of_a, "name": "a"}, 120.0)]
        assert served(families) == documented()
