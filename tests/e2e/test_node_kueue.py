"""Trainings with GPUs that a kubelet hands out and a real Kueue admits, on a real node."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.e2e.node_site import NodeSite, daemon, hostpath, program, until
from tests.e2e.pod_watch import PodWatch, watched
from tests.e2e.queues import GPU, priority_class, queues
from tests.e2e.test_cluster_metrics import Served

#: It says which device it has, and ends once it may: a file is the sign.
TRAINING = """\
import os, time
from pathlib import Path
model, attempt = Path(os.environ["MODEL_DIR"]), os.environ["ATTEMPT"]
(model / f"device-{attempt}").write_text(os.environ["NVIDIA_VISIBLE_DEVICES"])
print("began", flush=True)
while attempt == "1" and os.environ["HOLDS"] == "yes":
    time.sleep(0.1)
"""
ONE = {"gpu": {"count": 1}}
#: A time that a kubelet tells is of whole seconds: of each pod both ends are.
ROUNDING = 2.0


@pytest.fixture
def site(tmp_path: Path, gpu_namespace: Namespace, gpu_cluster: NodeCluster) -> NodeSite:
    site = NodeSite(tmp_path, gpu_namespace, gpu_cluster, hostpath(tmp_path))
    site.configure(server={"address": "127.0.0.1:0"})
    return site


def training(site: NodeSite, name: str, *, holds: bool = False, **section: Any) -> None:
    env = {"HOLDS": "yes" if holds else "no"}
    program(site, name, TRAINING, resources=ONE, env=env, queue="gpus", **section)


def pods_of(pods: PodWatch, name: str) -> list[Any]:
    """The pods of an object as their kubelet last had them, oldest first."""
    last = {}
    for _, pod in pods.events():
        if pod["metadata"]["labels"]["substratus.ai/name"] == name:
            last[pod["metadata"]["uid"]] = pod
    return list(last.values())


def end_of(pod: Any) -> datetime:
    (main,) = [c for c in pod["status"]["containerStatuses"] if c["name"] == "main"]
    return datetime.fromisoformat(main["state"]["terminated"]["finishedAt"])


def held(pod: Any) -> float:
    """The seconds for which a pod had its devices."""
    return (end_of(pod) - datetime.fromisoformat(pod["status"]["startTime"])).total_seconds()


def test_a_preempted_training_gives_its_gpu_back_and_resumes(
    site: NodeSite, tmp_path: Path
) -> None:
    namespace = site.namespace
    queues(namespace, gpus=1, preemption="LowerPriority")
    urgent = priority_class(namespace, 1000)
    (node,) = namespace.cluster.api.items("/api/v1/nodes")
    assert node["status"]["allocatable"][GPU] == "2"
    training(site, "slow", holds=True)
    site.push()
    told = Served(site)

    def used(name: str) -> float:
        owner = {"kind": "Model", "namespace": namespace.name, "name": name}
        return told.value("gpu_seconds_total", **owner) or 0.0

    with watched(namespace, tmp_path / "pods.json") as pods, daemon(site):
        until(lambda: list((tmp_path / "bucket").rglob("device-1")), what="its start")
        until(lambda: told.value("gpus_in_use") == 1, what="the GPU to be in use")
        training(site, "fast", priority=urgent)
        site.push()
        until(lambda: "queued again in gpus" in site.told("slow"), what="slow to be preempted")
        site.ready("fast")
        status = site.ready("slow")
        until(lambda: told.value("gpus_in_use") == 0, what="all to be over")
        assert told.ended("failed") == 0
        assert told.ended("infrastructure") == 0
        until(lambda: used("slow") > 0, what="the GPU seconds")
        counted = {name: used(name) for name in ("slow", "fast")}
    pods.never_two_of_a_key()
    files = list((tmp_path / "bucket").rglob("device-*"))
    assert len(files) == 3, "two attempts of one, one of the other"
    assert {file.read_text() for file in files} <= {"GPU-0", "GPU-1"}
    real = {}
    for name, attempts in (("slow", 2), ("fast", 1)):
        mine = pods_of(pods, name)
        assert len(mine) == attempts
        real[name] = sum(map(held, mine))
        # A run ends when its Job does, which is when the Job controller has seen its pod's end.
        done = datetime.fromisoformat(site.jobs()[name]["status"]["completionTime"])
        late = (done - end_of(mine[-1])).total_seconds()
        slack = ROUNDING * attempts
        assert real[name] - slack <= counted[name] <= real[name] + late + slack, (real, counted)
    assert status["tasks"][0]["attempts"] == 2
    phases = {entry["phase"]: entry for entry in status["history"]}
    assert phases["Interrupted"]["reason"] == "RunSuspended"
    assert "reempted" in phases["Interrupted"]["message"]
    written = sum(float(entry.get("gpuSeconds", 0)) for entry in status["history"])
    # The recorded start of an attempt is its command's; what came before is not in the history.
    assert 0 < written <= counted["slow"] + 2 * ROUNDING, (written, counted)
