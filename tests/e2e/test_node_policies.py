"""The NetworkPolicies of deploy/, enforced on a node by kube-router.

What a pod may reach is tried from within it, against servers of the test that any pod reaches
unless a policy forbids it.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.cluster.api import eventually
from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.e2e.family import family
from tests.e2e.node_site import NodeSite, daemon, program, until
from tests.e2e.rclone_bucket import rclone_bucket
from tests.e2e.test_node import RANKS
from tests.test_deploy import DEPLOY

JOB = {"app.kubernetes.io/managed-by": "reconciler"}
DAEMON = {"app.kubernetes.io/name": "reconciler"}
POLICIES = "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies"
JOBS, BASE = DEPLOY / "components/job-network", DEPLOY / "base"

#: Rules come a moment after their pod, so what is forbidden may be reached at first.
REACHES = """\
import socket, sys, time
def reaches(address):
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 3).close()
    except OSError:
        return False
    return True
def within(wanted, address):
    deadline = time.monotonic() + 120
    same = 0
    while same < 3:  # once may be chance, on a busy machine
        same = same + 1 if reaches(address) == wanted else 0
        if time.monotonic() > deadline:
            sys.exit(("never reached " if wanted else "always reached ") + address)
        time.sleep(0.2)
"""
#: Its arguments: what it must not reach, then what it must.
PROBE = (
    REACHES
    + """\
closed, opened = (each.split(",") for each in sys.argv[1:3])
for address in filter(None, closed):
    within(False, address)
for address in filter(None, opened):
    within(True, address)
socket.getaddrinfo("kubernetes.default.svc.cluster.local", 443)
"""
)
SERVE = """\
import socket, threading
def serve(server):
    while True:
        server.accept()[0].close()
servers = [socket.create_server(("", port)) for port in (8080, 8081)]
print("ready", flush=True)
threading.Thread(target=serve, args=servers[1:], daemon=True).start()
serve(servers[0])
"""


def apply(namespace: Namespace, folder: Path, *addresses: str) -> None:
    """The policies of a folder of deploy/; ports out are those of the addresses, or URLs."""
    ports = [int(address.rstrip("/").rpartition(":")[2]) for address in addresses]
    for policy in YAML(typ="safe").load_all((folder / "networkpolicy.yaml").read_text()):
        policy["metadata"].pop("namespace")
        if policy["metadata"]["name"].endswith("-egress"):
            policy["spec"]["egress"] = [
                {"ports": [{"protocol": "TCP", "port": port} for port in ports]}
            ]
        namespace.cluster.api.create(POLICIES.format(namespace.name), policy)


@contextmanager
def server(host: str) -> Iterator[str]:
    """Take connections at an address of this machine; yields it with the port."""
    with socket.create_server((host, 0)) as listening:

        def serve() -> None:
            try:
                while True:
                    listening.accept()[0].close()
            except OSError:
                pass  # it is closed

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"{host}:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def run_pod(
    namespace: Namespace, name: str, labels: Mapping[str, str], text: str, *arguments: str
) -> None:
    cluster = namespace.cluster
    assert isinstance(cluster, NodeCluster)
    container = {
        "name": "c",
        "image": cluster.images["python"],
        "command": ["python3", "-c", text, *arguments],
        "ports": [{"name": "http", "containerPort": 8080}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    spec = {"restartPolicy": "Never", "containers": [container]}
    cluster.api.create(
        namespace.pods, {"metadata": {"name": name, "labels": dict(labels)}, "spec": spec}
    )


def address_of(namespace: Namespace, name: str) -> str:
    """The address of a pod whose servers listen."""

    def found() -> str | None:
        pod = namespace.cluster.api.get(f"{namespace.pods}/{name}")
        if pod["status"]["phase"] != "Running" or not namespace.kubectl("logs", name):
            return None
        address: str = pod["status"]["podIP"]
        return address

    return eventually(found, f"the address of {name}")


def end_of(namespace: Namespace, name: str) -> str:
    """What a probe ended with: nothing, or what it found."""

    def found() -> Any | None:
        pod = namespace.cluster.api.get(f"{namespace.pods}/{name}")
        return pod if pod["status"]["phase"] in ("Succeeded", "Failed") else None

    (status,) = eventually(found, f"the end of {name}", seconds=400)["status"]["containerStatuses"]
    ended = status["state"]["terminated"]
    return "" if ended["exitCode"] == 0 else ended.get("message", "failed")


@pytest.mark.timeout(900)
def test_pods_of_jobs_reach_the_ports_that_are_named_and_one_another_alone(
    policy_cluster: NodeCluster, policy_namespace: Namespace
) -> None:
    namespace = policy_namespace
    with server(policy_cluster.address) as named, server(policy_cluster.address) as other:
        apply(namespace, JOBS, named)
        run_pod(namespace, "rank-0", JOB, SERVE)
        run_pod(namespace, "bystander", {}, SERVE)
        rank, bystander = (f"{address_of(namespace, n)}:8080" for n in ("rank-0", "bystander"))
        run_pod(namespace, "rank-1", JOB, PROBE, f"{other},{bystander}", f"{named},{rank}")
        run_pod(namespace, "stranger", {}, PROBE, rank, f"{named},{other},{bystander}")
        assert end_of(namespace, "rank-1") == ""
        assert end_of(namespace, "stranger") == ""


@pytest.mark.timeout(900)
def test_the_daemon_is_reached_at_its_port_and_reaches_those_that_are_named(
    policy_cluster: NodeCluster, policy_namespace: Namespace
) -> None:
    namespace = policy_namespace
    with server(policy_cluster.address) as named, server(policy_cluster.address) as other:
        apply(namespace, BASE, named)
        run_pod(namespace, "daemon", DAEMON, SERVE)
        host = address_of(namespace, "daemon")
        run_pod(namespace, "out", DAEMON, PROBE, other, named)
        run_pod(namespace, "prometheus", {}, PROBE, f"{host}:8081", f"{host}:8080")
        assert end_of(namespace, "out") == ""
        assert end_of(namespace, "prometheus") == ""


#: The beginning of trainings that go on once they have seen that the policies hold for them.
FENCED = REACHES + 'import os\nwithin(False, os.environ["CLOSED"])\n'
WEIGHTS = 'open(os.environ["MODEL_DIR"] + "/weights", "w").write("fenced")\n'


@pytest.mark.timeout(1500)
def test_builds_loads_and_trainings_need_no_more_than_the_policies_of_jobs_allow(
    tmp_path: Path, policy_cluster: NodeCluster, policy_namespace: Namespace
) -> None:
    bucket = rclone_bucket(policy_cluster, policy_namespace)
    site = NodeSite(tmp_path, policy_namespace, policy_cluster, bucket)
    remotes = (site.forge.url(""), policy_cluster.registry, policy_cluster.s3.endpoint)
    apply(policy_namespace, JOBS, *remotes)
    with server(policy_cluster.address) as address:
        closed = {"CLOSED": address}
        family(site)
        program(site, "fenced", FENCED + WEIGHTS, env=closed)
        program(site, "ranks", FENCED + RANKS, env=closed, resources={"nodes": 2})
        site.push()
        with daemon(site):
            until(lambda: set(site.phases().values()) <= {"Ready", "Failed"} and site.phases(),
                  what="the end of all")  # fmt: skip
            statuses = site.statuses()
    told = {name: (status["phase"], status.get("message")) for name, status in statuses.items()}
    assert {name for name, (phase, _) in told.items() if phase == "Ready"} == {
        "rows", "base", "fine", "fenced", "ranks",
    }, json.dumps(told)  # fmt: skip
