"""Trainings with GPUs that a kubelet hands out and a real Kueue admits, on a real node."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.e2e.node_site import NodeSite, daemon, hostpath, program, until
from tests.e2e.pod_watch import PodWatch, watched
from tests.e2e.queues import GPU, priority_class, queues, why
from tests.e2e.test_cluster_metrics import Served

#: It says which devices it has, and goes on until it may end: files are the signs. Where it is
#: told to end it takes its time.
TRAINING = """\
import os, signal, time
from pathlib import Path
model, attempt, rank = Path(os.environ["MODEL_DIR"]), os.environ["ATTEMPT"], os.environ["NODE_RANK"]
def wait_for(name):
    while not (model / name).exists():
        time.sleep(0.1)
def end(*_):
    wait_for("may-end")
    raise SystemExit(1)
signal.signal(signal.SIGTERM, end)
assert attempt == "1" or (model / "devices-1-0").read_text(), "files of the first attempt"
(model / f"devices-{attempt}-{rank}").write_text(os.environ["NVIDIA_VISIBLE_DEVICES"])
if attempt == "1" and os.environ["HOLDS"] == "yes":
    wait_for("may-go-on")
"""
#: A time that a kubelet tells is of whole seconds: of each pod both ends are.
ROUNDING = 2.0


class GpuSite(NodeSite):
    """A site on a node that has two GPUs; what it serves is compared with its kubelet."""

    def __init__(self, root: Path, namespace: Namespace, cluster: NodeCluster) -> None:
        super().__init__(root, namespace, cluster, hostpath(root))
        self.configure()

    def configure(self, **sections: Any) -> None:
        # No pod is killed in a test that waits for something.
        patient = {"train": {"spec": {"terminationGracePeriodSeconds": 600}}}
        kubernetes = {"templates": patient, **sections.pop("kubernetes", {})}
        super().configure(server={"address": "127.0.0.1:0"}, kubernetes=kubernetes, **sections)

    def training(self, name: str, *, holds: bool = False, **section: Any) -> None:
        env = {"HOLDS": "yes" if holds else "no"}
        program(self, name, TRAINING, **{"env": env, "queue": "gpus", **section})

    def sign(self, name: str, sign: str) -> None:
        """Give a sign to an object's training, which has begun."""
        began = next((self.root / "bucket").rglob(f"models/{name}/*/devices-1-0"))
        (began.parent / sign).touch()

    def devices(self, name: str) -> list[str]:
        """What each pod of an object was given, by attempt and rank."""
        files = sorted((self.root / "bucket").rglob(f"models/{name}/*/devices-*"))
        return [file.read_text() for file in files]

    def agree(self, told: Served, gpus: int) -> None:
        """Wait until the kubelet has given so many GPUs to pods, and the gauge says the same."""
        mine = f"{self.namespace.name}/"

        def given() -> int:
            found = self.cluster.devices()
            return sum(len(ids) for pod, ids in found.items() if pod.startswith(mine))

        until(lambda: given() == gpus, what=f"{gpus} GPUs to be given by the kubelet")
        until(lambda: told.value("gpus_in_use") == gpus, what=f"{gpus} GPUs to be in use")
        assert given() == gpus


@pytest.fixture
def site(tmp_path: Path, gpu_namespace: Namespace, gpu_cluster: NodeCluster) -> GpuSite:
    return GpuSite(tmp_path, gpu_namespace, gpu_cluster)


def used(site: NodeSite, told: Served, name: str) -> float:
    owner = {"kind": "Model", "namespace": site.namespace.name, "name": name}
    return told.value("gpu_seconds_total", **owner) or 0.0


def pods_of(pods: PodWatch, name: str) -> list[Any]:
    """The pods of an object as their kubelet last had them, oldest first."""
    last = {}
    for _, pod in pods.events():
        if pod["metadata"]["labels"].get("substratus.ai/name") == name:
            last[pod["metadata"]["uid"]] = pod
    return list(last.values())


def start_of(pod: Any) -> datetime:
    return datetime.fromisoformat(pod["status"]["startTime"])


def end_of(pod: Any) -> datetime:
    (main,) = [c for c in pod["status"]["containerStatuses"] if c["name"] == "main"]
    return datetime.fromisoformat(main["state"]["terminated"]["finishedAt"])


def held(pod: Any) -> float:
    """The seconds for which a pod had its devices."""
    return (end_of(pod) - start_of(pod)).total_seconds()


def late(site: NodeSite, name: str, pod: Any) -> float:
    """The seconds from a pod's end to its Job's.

    A run ends when its Job does, which is when the Job controller has seen its pods' end.
    """
    done = datetime.fromisoformat(site.jobs()[name]["status"]["completionTime"])
    return (done - end_of(pod)).total_seconds()


def test_a_preempted_training_gives_its_gpu_back_and_resumes(site: GpuSite, tmp_path: Path) -> None:
    namespace = site.namespace
    queues(namespace, gpus=1, preemption="LowerPriority")
    urgent = priority_class(namespace, 1000)
    (node,) = namespace.cluster.api.items("/api/v1/nodes")
    assert node["status"]["allocatable"][GPU] == "2"
    one: dict[str, Any] = {"resources": {"gpu": {"count": 1}}, "holds": True}
    site.training("slow", **one)
    site.push()
    told = Served(site)
    with watched(namespace, tmp_path / "pods.json") as pods, daemon(site):
        until(lambda: site.devices("slow"), what="its start")
        site.agree(told, 1)
        site.training("fast", priority=urgent, **one)
        site.push()
        # Kueue gives the place away while the pod that had it is still ending, with its GPU.
        until(lambda: site.devices("fast"), what="the start of the other")
        site.agree(told, 2)
        site.sign("slow", "may-end")
        until(lambda: "queued again in gpus" in site.told("slow"), what="slow to be preempted")
        site.agree(told, 1)
        assert told.value("gpus_requested") == 2
        site.sign("fast", "may-go-on")
        site.ready("fast")
        status = site.ready("slow")
        site.agree(told, 0)
        assert told.ended("failed") == 0
        assert told.ended("infrastructure") == 0
        until(lambda: used(site, told, "slow") > 0, what="the GPU seconds")
        counted = {name: used(site, told, name) for name in ("slow", "fast")}
    pods.never_two_of_a_key()
    given = {name: site.devices(name) for name in ("slow", "fast")}
    assert {name: len(devices) for name, devices in given.items()} == {"slow": 2, "fast": 1}
    assert {device for devices in given.values() for device in devices} <= {"GPU-0", "GPU-1"}
    real = {}
    for name, attempts in (("slow", 2), ("fast", 1)):
        mine = pods_of(pods, name)
        assert len(mine) == attempts
        real[name] = sum(map(held, mine))
        slack = ROUNDING * attempts
        most = real[name] + late(site, name, mine[-1]) + slack
        assert real[name] - slack <= counted[name] <= most, (real, counted)
    assert status["tasks"][0]["attempts"] == 2
    phases = {entry["phase"]: entry for entry in status["history"]}
    assert phases["Interrupted"]["reason"] == "RunSuspended"
    assert "reempted" in phases["Interrupted"]["message"]
    written = sum(float(entry.get("gpuSeconds", 0)) for entry in status["history"])
    # The recorded start of an attempt is its command's; what came before is not in the history.
    assert 0 < written <= counted["slow"] + 2 * ROUNDING, (written, counted)


def test_gpus_of_a_type_and_a_number_are_given_or_waited_for(site: GpuSite) -> None:
    label = site.namespace.name
    site.configure(
        kubernetes={"gpus": {"any": {}} | {t: {"nodeSelector": {label: t}} for t in ("l4", "h100")}}
    )

    def label_node(value: str) -> None:
        body = {"metadata": {"labels": {label: value}}}
        site.cluster.api.request("PATCH", "/api/v1/nodes/node1", body)

    label_node("l4")
    gpus = {
        "two": {"count": 2},
        "three": {"count": 3},
        "small": {"count": 1, "type": "l4"},
        "large": {"count": 1, "type": "h100"},
    }
    for name, gpu in gpus.items():
        site.training(name, resources={"gpu": gpu}, queue=None)
    site.push()
    with daemon(site):
        for name in ("two", "small"):
            site.ready(name)
        assert site.devices("two") == ["GPU-0,GPU-1"]
        assert site.devices("small") in (["GPU-0"], ["GPU-1"])
        causes = {"three": f"Insufficient {GPU}", "large": "node affinity/selector"}
        until(
            lambda: all(cause in site.told(name) for name, cause in causes.items()),
            what=f"{causes} to be told",
        )
        for name, cause in causes.items():
            assert site.phases()[name] == "Pending"
            assert cause in why(site, name)
        label_node("h100")
        site.ready("large")


def test_an_image_is_built_in_a_queue_for_two_ranks_with_a_gpu_each(
    site: GpuSite, tmp_path: Path
) -> None:
    namespace = site.namespace
    site.dockerfile("src", "train.py", TRAINING)
    training = {
        "mode": "Scratch",
        "command": ["python3", "/app/train.py"],
        "env": {"HOLDS": "yes"},
        "resources": {"gpu": {"count": 1}, "nodes": 2},
        "queue": "gpus",
    }
    source = {"git": {"url": ".", "path": "src"}}
    spec = {"source": source, "build": {"queue": "gpus"}, "training": training}
    manifest = {"kind": "Model", "metadata": {"name": "wide"}, "spec": spec}
    site.write("wide.yaml", json.dumps(manifest))
    site.push()
    told = Served(site)
    with watched(namespace, tmp_path / "pods.json") as pods, daemon(site):
        missing = "queued in gpus: LocalQueue gpus doesn't exist"
        until(lambda: missing in site.told("wide"), what="the build to be queued")
        assert namespace.cluster.api.items(namespace.pods) == []
        queues(namespace, gpus=2)
        until(lambda: len(site.devices("wide")) == 2, what="both ranks")
        site.agree(told, 2)
        site.sign("wide", "may-go-on")
        status = site.ready("wide")
        site.agree(told, 0)
        until(lambda: used(site, told, "wide") > 0, what="the GPU seconds")
        counted = used(site, told, "wide")
    assert sorted(site.devices("wide")) == ["GPU-0", "GPU-1"]
    assert [task["attempts"] for task in status["tasks"]] == [1, 1]
    ranks = pods_of(pods, "wide")
    assert len(ranks) == 2
    # A run has its GPUs from the first rank's start on to its end, which is that of its Job.
    began = min(map(start_of, ranks))
    waited = sum((start_of(pod) - began).total_seconds() for pod in ranks)
    over = sum(late(site, "wide", pod) for pod in ranks)
    real, slack = sum(map(held, ranks)), 2 * ROUNDING
    assert real - slack <= counted <= real + waited + over + slack, (real, counted)
