"""Nodes can be lost in a test as they are in life, and nothing of a cluster stays behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.cluster import lease
from tests.cluster.api import eventually
from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.cluster.holder import holder, processes_of
from tests.cluster.test_node import ended, shell, work
from tests.container_daemons import FOLDER
from tests.processes import run


def ready(cluster: NodeCluster, name: str) -> str | None:
    """The status of the node's Ready condition."""
    node = cluster.api.find(f"/api/v1/nodes/{name}")
    conditions = node["status"].get("conditions", ()) if node else ()
    return next((c["status"] for c in conditions if c["type"] == "Ready"), None)


def pods(namespace: Namespace) -> dict[str, str]:
    """The phase of the pod on each node."""
    found: list[Any] = namespace.cluster.api.items(namespace.pods)
    return {p["spec"].get("nodeName", ""): p["status"]["phase"] for p in found}


def test_a_job_goes_on_elsewhere_when_its_pod_on_a_lost_node_is_given_up(
    own_node_cluster: NodeCluster,
) -> None:
    cluster = own_node_cluster
    namespace = Namespace(cluster, "default")
    script = '[ "$NODE" = node2 ] || sleep 600'
    container = {"image": cluster.images["busybox"], "command": shell(script)}
    work(namespace, container, retries=2)
    eventually(lambda: pods(namespace) == {"node1": "Running"}, "it runs on the first node")
    cluster.stop("node1")
    cluster.start("node2")
    eventually(lambda: ready(cluster, "node1") == "Unknown", "the loss is noticed")
    assert pods(namespace) == {"node1": "Running"}  # for all that anybody knows
    # Given up as administrators do it. Deleting the Node does it too, after a minute's quarantine.
    cluster.kubectl("delete", "pods", "--selector=job-name=work", "--force", "--grace-period=0")
    assert ended(namespace) == "Complete"
    assert pods(namespace) == {"node2": "Succeeded"}


def test_a_node_that_is_cut_off_runs_on_and_comes_back(own_node_cluster: NodeCluster) -> None:
    cluster = own_node_cluster
    namespace = Namespace(cluster, "default")
    flag = cluster.folder / "flag"
    flag.mkdir()
    script = "while [ ! -e /flag/end ]; do sleep 0.1; done; echo done > /flag/ended"
    container = {
        "image": cluster.images["busybox"],
        "command": shell(script),
        "volumeMounts": [{"name": "flag", "mountPath": "/flag"}],
    }
    volume = {"name": "flag", "hostPath": {"path": str(flag)}}
    work(namespace, container, volumes=[volume])
    eventually(lambda: pods(namespace) == {"node1": "Running"}, "it runs")
    cluster.cut("node1")
    eventually(lambda: ready(cluster, "node1") == "Unknown", "the node is not heard of")
    (flag / "end").touch()
    eventually((flag / "ended").exists, "the pod ran on")
    assert pods(namespace) == {"node1": "Running"}
    cluster.mend("node1")
    assert ended(namespace) == "Complete"
    eventually(lambda: ready(cluster, "node1") == "True", "the node is heard of again")


# -- and nothing stays ---------------------------------------------------------------------------


def traces(address: str) -> list[str]:
    """What there is on this machine of the cluster with this address."""
    name = f"mrtest{address.split('.')[2]}"
    links = run(["ip", "-o", "link"], check=True).stdout
    cgroups = Path("/sys/fs/cgroup")
    found = [line for line in links.splitlines() if name in line]
    found += [str(p) for p in (*cgroups.glob(name), *cgroups.glob(f"*/{name}"))]
    return found


def machine() -> dict[str, str]:
    """What a node would change of this machine if it were not kept from it."""
    sysctls = (
        "vm/overcommit_memory",
        "kernel/panic",
        "kernel/panic_on_oops",
        "net/ipv4/ip_forward",
    )
    state = {name: Path("/proc/sys", name).read_text() for name in sysctls}
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    # Those of containers of other tests come and go.
    state["mounts"] = "\n".join(line for line in mounts if FOLDER not in line)
    state["nat"] = run(["iptables", "-t", "nat", "-S"], check=True).stdout
    folders = ("/var/lib/kubelet", "/var/lib/cni", "/run/containerd", "/usr/libexec/kubernetes")
    state |= {folder: str(Path(folder).exists()) for folder in folders}
    return state


@pytest.mark.cluster
@pytest.mark.node
def test_a_node_leaves_nothing_behind(tmp_path: Path) -> None:
    before = machine()
    folder = tmp_path / "c"
    with lease.node(folder) as cluster:
        namespace = Namespace(cluster, "default")
        container = {"image": cluster.images["busybox"], "command": shell("sleep 600")}
        work(namespace, container)
        eventually(lambda: pods(namespace) == {"node1": "Running"}, "it runs")
        assert machine() == before
        assert traces(cluster.address)
    assert machine() == before
    assert traces(cluster.address) == []
    assert processes_of(folder) == []


@pytest.mark.cluster
@pytest.mark.node
@pytest.mark.parametrize("victim", ["process", "keeper"])
def test_a_killed_process_leaves_nothing_running(tmp_path: Path, victim: str) -> None:
    with holder(tmp_path, "node") as held:
        address = urlsplit(held.server).hostname or ""
        assert traces(address)
        # Not by psutil, which takes a process for another one after a step of the clock.
        os.kill(getattr(held, victim).pid, signal.SIGKILL)
        eventually(lambda: not processes_of(tmp_path), "all processes are gone")
        # Empty cgroups are what only a killed keeper leaves; the next cluster sweeps them.
        eventually(
            lambda: not [trace for trace in traces(address) if not trace.startswith("/sys")],
            "the network is gone",
        )
