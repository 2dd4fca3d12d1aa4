"""What deploy/ holds is accepted by a real cluster, and gives just the rights that are needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reconciler.config import load_setup
from reconciler.engines.kubernetes.client import Api
from reconciler.engines.kubernetes.config import ClusterSettings
from reconciler.engines.kubernetes.engine import KubernetesEngine
from reconciler.engines.kubernetes.leader_election import Leadership
from tests.cluster.cluster import Cluster
from tests.cluster.kubeconfig import write_kubeconfig
from tests.engines.kubernetes.orders import INSTANCE, bare_job, order
from tests.processes import run

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
OVERLAYS = sorted(folder.name for folder in (DEPLOY / "overlays").iterdir())
ACCOUNT = "system:serviceaccount:reconciler:reconciler"


def kustomized(cluster: Cluster, overlay: str) -> str:
    return cluster.kubectl("kustomize", str(DEPLOY / "overlays" / overlay))


@pytest.fixture
def cluster(own_control_plane: Cluster) -> Cluster:
    """A cluster with the overlay ``single`` applied."""
    own_control_plane.kubectl("apply", f"--kustomize={DEPLOY / 'namespaces'}")
    own_control_plane.kubectl(
        "apply", "--filename=-", given=kustomized(own_control_plane, "single")
    )
    return own_control_plane


def test_every_overlay_is_accepted(own_control_plane: Cluster) -> None:
    own_control_plane.kubectl("apply", f"--kustomize={DEPLOY / 'namespaces'}")
    for overlay in OVERLAYS:
        told = own_control_plane.kubectl(
            "apply", "--filename=-", given=kustomized(own_control_plane, overlay)
        )
        assert "deployment.apps/reconciler" in told, overlay


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_has_a_configuration_that_the_daemon_takes(
    overlay: str, control_plane: Cluster, tmp_path: Path
) -> None:
    documents = control_plane.kubectl(
        "create", "--dry-run=client", "--output=json", "--filename=-",
        given=kustomized(control_plane, overlay),
    )  # fmt: skip
    found = [d for d in _documents(documents) if d["kind"] == "ConfigMap"]
    (file,) = [d["data"]["reconciler.yaml"] for d in found]
    (tmp_path / "reconciler.yaml").write_text(file)
    setup = load_setup(tmp_path / "reconciler.yaml", {})
    assert setup.config.engine == "kubernetes"
    ClusterSettings.from_setup(setup)


def _documents(text: str) -> list[dict[str, Any]]:
    decoder = json.JSONDecoder()
    found: list[dict[str, Any]] = []
    while text := text.lstrip():
        document, end = decoder.raw_decode(text)
        found.extend(document["items"] if document["kind"] == "List" else [document])
        text = text[end:]
    return found


def test_the_deployed_pod_may_run_where_the_restricted_standard_is_enforced(
    cluster: Cluster,
) -> None:
    events = cluster.kubectl("--namespace=reconciler", "get", "deployment", "--output=json")
    (deployment,) = json.loads(events)["items"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}}
    template = deployment["spec"]["template"]["spec"]
    told = cluster.kubectl(
        "--namespace=reconciler", "create", "--dry-run=server", "--filename=-",
        given={**pod, "spec": {**template, "restartPolicy": "Never"}},
    )  # fmt: skip
    assert "created" in told


async def test_the_deployed_rights_are_enough(cluster: Cluster, tmp_path: Path) -> None:
    kubeconfig = as_the_daemon(cluster, tmp_path)
    api = await Api.connect(kubeconfig=str(kubeconfig))
    lease = Leadership(
        api, namespace="reconciler", name="reconciler-x", holder="me", owner="o", duration=5
    )
    await lease.acquire()
    await lease.release()
    engine = KubernetesEngine(api, instance=INSTANCE, render=bare_job, namespaces=("models",))
    await engine.start(lambda: None)
    try:
        spec = order("models")
        await engine.create(spec)
        await engine.create(spec)
        assert engine.runs().keys() == {spec.name}
        await engine.delete(spec.name)
    finally:
        await engine.stop()


NEVER = [
    ("get", "secrets"),
    ("list", "secrets"),
    ("create", "pods"),
    ("delete", "pods"),
    ("create", "pods/exec"),
    ("patch", "jobs.batch"),
    ("update", "jobs.batch"),
    ("create", "rolebindings.rbac.authorization.k8s.io"),
    ("create", "serviceaccounts/token"),
    ("create", "persistentvolumes"),
]


def test_the_deployed_rights_are_no_more_than_needed(cluster: Cluster) -> None:
    assert may(cluster, "create", "jobs.batch", "models")
    too_many = [
        (verb, what, namespace)
        for verb, what in NEVER
        for namespace in ("models", "reconciler", "kube-system")
        if may(cluster, verb, what, namespace)
    ]
    assert too_many == []
    for verb in ("list", "create", "delete"):
        assert not may(cluster, verb, "jobs.batch", "default")


def may(cluster: Cluster, verb: str, what: str, namespace: str, *, account: str = ACCOUNT) -> bool:
    done = run([
            str(cluster.binaries["kubectl"]), f"--kubeconfig={cluster.kubeconfig}", "auth", "can-i",
            verb, what, f"--namespace={namespace}", f"--as={account}",
        ])  # fmt: skip
    assert done.stdout.strip() in ("yes", "no"), done.stderr
    return done.stdout.strip() == "yes"


def as_the_daemon(cluster: Cluster, folder: Path) -> Path:
    """A kubeconfig of the daemon's service account."""
    token = cluster.kubectl("--namespace=reconciler", "create", "token", "reconciler").strip()
    server = {"server": cluster.server, "certificate-authority": str(cluster.ca)}
    return write_kubeconfig(folder / "daemon.kubeconfig", server, {"token": token})
