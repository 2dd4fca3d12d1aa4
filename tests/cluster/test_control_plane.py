"""The control plane of the tests is a real one, and is gone afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cluster import given, lease
from tests.cluster.api import eventually
from tests.cluster.build import programs
from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterFailed
from tests.cluster.fixtures import Namespace
from tests.cluster.holder import holder, processes_of
from tests.cluster.test_node import job

JOB = job({"image": "none", "command": ["true"]})


def test_a_job_gets_its_pod_and_takes_it_along(namespace: Namespace) -> None:
    api = namespace.cluster.api
    api.create(namespace.jobs, JOB)
    pods = eventually(lambda: api.items(namespace.pods), "the Job's pod is there")
    assert pods[0]["metadata"]["labels"]["batch.kubernetes.io/job-name"] == "work"
    api.delete(f"{namespace.jobs}/work")
    eventually(lambda: not api.items(namespace.pods), "the pod goes with its Job")


def test_a_succeeded_pod_completes_its_job(namespace: Namespace) -> None:
    api = namespace.cluster.api
    api.create(namespace.jobs, JOB)
    pod = eventually(lambda: api.items(namespace.pods), "the Job's pod is there")[0]
    path = f"{namespace.pods}/{pod['metadata']['name']}/status"
    api.request("PATCH", path, {"status": {"phase": "Succeeded"}})
    eventually(
        lambda: api.get(f"{namespace.jobs}/work")["status"].get("succeeded"),
        "the Job counts its pod",
    )


@pytest.fixture
def other_namespace(request: pytest.FixtureRequest, namespace: Namespace) -> Namespace:
    name = f"{namespace.name}-2"
    namespace.cluster.api.create("/api/v1/namespaces", {"metadata": {"name": name}})
    path = f"/api/v1/namespaces/{name}"
    request.addfinalizer(lambda: namespace.cluster.api.delete(path))  # noqa: PT021
    return Namespace(namespace.cluster, name)


def test_two_namespaces_are_apart(namespace: Namespace, other_namespace: Namespace) -> None:
    api = namespace.cluster.api
    api.create(namespace.jobs, JOB)
    assert [item["metadata"]["name"] for item in api.items(namespace.jobs)] == ["work"]
    assert api.items(other_namespace.jobs) == []
    api.create(other_namespace.jobs, JOB)  # the same name is no conflict there


def test_the_api_server_checks_what_it_is_given(namespace: Namespace) -> None:
    text = json.dumps(JOB)
    assert "created (server dry run)" in namespace.kubectl(
        "create", "--dry-run=server", "--filename=-", given=text
    )


def test_etcd_can_be_killed_and_comes_back_with_what_it_knew(own_control_plane: Cluster) -> None:
    api = own_control_plane.api
    api.create("/api/v1/namespaces", {"metadata": {"name": "kept"}})
    own_control_plane.kill("etcd")
    eventually(lambda: not api.answers(), "the API server says that it is not ready")
    own_control_plane.start("etcd")
    eventually(api.answers, "the API server is ready again")
    assert api.find("/api/v1/namespaces/kept") is not None


def test_requests_can_be_counted(own_control_plane: Cluster) -> None:
    own_control_plane.api.get("/api/v1/namespaces/default")
    log = own_control_plane.folder / "logs" / "audit.log"
    asked = [json.loads(line) for line in log.read_text().splitlines()]
    mine = [a for a in asked if a["user"]["username"] == "admin" and a["verb"] == "get"]
    assert any(a["requestURI"] == "/api/v1/namespaces/default" for a in mine)


@pytest.mark.cluster
def test_nothing_is_left_after_the_last_lease_ends(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    with lease.control_plane(folder) as first:
        with lease.control_plane(folder) as second:
            assert second.pids() == first.pids()
        assert first.api.answers()  # the other went, the cluster did not
    assert processes_of(folder) == []


@pytest.mark.cluster
@pytest.mark.parametrize("victim", ["process", "keeper"])
def test_a_killed_test_or_keeper_leaves_nothing_running(tmp_path: Path, victim: str) -> None:
    with holder(tmp_path, "control_plane") as held:
        assert processes_of(tmp_path)
        getattr(held, victim).kill()
        eventually(lambda: not processes_of(tmp_path), "all processes of the cluster are gone")


def test_a_cluster_of_the_users_can_take_its_place(control_plane: Cluster, tmp_path: Path) -> None:
    theirs = given.cluster(
        control_plane.kubeconfig, tmp_path / "given", control_plane.binaries["kubectl"]
    )
    assert theirs.api.answers()
    assert theirs.kubectl("get", "namespace", "default", "--output=name") == "namespace/default\n"
    with pytest.raises(ClusterFailed, match="is the user's"):
        theirs.kill("etcd")


@pytest.mark.cluster
def test_a_second_build_finds_everything() -> None:
    said: list[str] = []
    programs("control-plane", said.append)
    assert said == []
