"""deploy/ as it is: two replicas in pods, with their own account, restricted as pods can be.

Their image is that of the Dockerfile, built on the same node before.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.cluster.ports import free
from tests.e2e.daemon_image import daemon_image
from tests.e2e.site import Site, git, until
from tests.git.remotes import HttpRemote
from tests.test_deploy import DEPLOY

PATIENCE = 300.0


@pytest.mark.timeout(1800)
def test_two_replicas_work_as_they_are_deployed(
    tmp_path: Path,
    node_cluster: NodeCluster,
    node_namespace: Namespace,
    request: pytest.FixtureRequest,
) -> None:
    image = daemon_image(tmp_path / "image", node_namespace, node_cluster)
    site = Site(tmp_path)
    forge = HttpRemote(tmp_path, password=("git", "secret-token"), address=node_cluster.address)
    request.addfinalizer(forge.close)
    git(site.remote, "config", "http.receivepack", "true")
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    bucket.chmod(0o777)
    model(site, node_cluster, text="first")
    site.push()
    secret = ["secret", "generic", "git", "--from-literal=token=secret-token"]
    config = configuration(node_cluster, forge, bucket)
    with deployed(node_cluster, tmp_path, config, image=image):
        kubectl(node_cluster, "create", *secret)
        kubectl(node_cluster, "rollout", "status", "deployment/reconciler", "--timeout=200s")
        until(lambda: made(site) == "first\n", what="the first training", patience=PATIENCE)
        assert [restarts(pod) for pod in pods(node_cluster)] == [0, 0]

        leader = holder(node_cluster)
        with forwarded(node_cluster, leader) as url:
            page = urllib.request.urlopen(f"{url}/", timeout=30).read().decode()
        assert "/objects/models/models/m" in page
        kubectl(node_cluster, "delete", "pod", leader, "--wait=false")
        until(lambda: holder(node_cluster) != leader, what="the other one to lead")
        model(site, node_cluster, text="second")
        site.push()
        until(lambda: made(site) == "second\n", what="the second training", patience=PATIENCE)
        assert "Traceback" not in kubectl(node_cluster, "logs", "deployment/reconciler")


def configuration(cluster: NodeCluster, forge: HttpRemote, bucket: Path) -> dict[str, Any]:
    """What an overlay's reconciler.yaml is changed to."""
    return {
        "repository": {
            "url": forge.url("manifests.git"),
            "interval": "1s",
            "credentials": {
                "username": "git",
                "passwordFile": "/run/secrets/reconciler/git/token",
            },
        },
        "status": {"interval": "1s"},
        "engine": "kubernetes",
        "kubernetes": {
            "namespace": "models",
            "namespaces": ["models"],
            "images": {"wrapper": cluster.images["busybox"]},
        },
        "registry": {"url": f"{cluster.registry}/models", "insecure": True},
        "buckets": {"default": {"url": bucket.as_uri()}},
        "local": {"root": "/var/lib/reconciler"},
        "server": {"address": ":8080"},
    }


@contextmanager
def deployed(
    cluster: NodeCluster, root: Path, config: dict[str, Any], *, image: str
) -> Iterator[None]:
    """The overlay two-replicas, with this configuration and image."""
    name, _, digest = image.partition("@")
    folder = root / "overlay"
    folder.mkdir()
    (folder / "reconciler.yaml").write_text(json.dumps(config))
    ours = {"name": "model-reconciler", "newName": name, "digest": digest}
    files = {"name": "reconciler", "namespace": "reconciler", "files": ["reconciler.yaml"]}
    kustomization = {
        "resources": [
            os.path.relpath(DEPLOY / part, folder)
            for part in ("namespaces", "overlays/two-replicas")
        ],
        "images": [ours],
        "configMapGenerator": [{**files, "behavior": "replace"}],
    }
    (folder / "kustomization.yaml").write_text(json.dumps(kustomization))
    try:
        cluster.kubectl("apply", f"--kustomize={folder}")
        yield
    except BaseException:
        for what in (["get", "pods,events"], ["logs", "--all-pods", "deployment/reconciler"]):
            sys.stderr.write(kubectl(cluster, *what))
        raise
    finally:
        cluster.kubectl("delete", f"--kustomize={folder}", "--wait=false")


def model(site: Site, cluster: NodeCluster, *, text: str) -> None:
    training = {
        "mode": "Scratch",
        "command": ["sh", "-c", 'echo "$PARAM_TEXT" > "$MODEL_DIR/weights"'],
        "params": {"text": text},
    }
    spec = {"source": {"image": {"ref": cluster.images["busybox"]}}, "training": training}
    manifest = {"kind": "Model", "metadata": {"name": "m"}, "spec": spec}
    site.write("m.yaml", json.dumps(manifest))


def made(site: Site) -> str | None:
    """What the current artifact of the model holds, once it is Ready."""
    status = site.statuses().get("m", {})
    assert status.get("phase") != "Failed", status
    if status.get("phase") != "Ready":
        return None
    return Path(status["artifact"]["url"].removeprefix("file://"), "weights").read_text()


def kubectl(cluster: NodeCluster, *arguments: str) -> str:
    return cluster.kubectl("--namespace=reconciler", *arguments)


def pods(cluster: NodeCluster) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(kubectl(cluster, "get", "pods", "--output=json"))[
        "items"
    ]
    return found


def restarts(pod: dict[str, Any]) -> int:
    return sum(int(status["restartCount"]) for status in pod["status"]["containerStatuses"])


def holder(cluster: NodeCluster) -> str:
    """The pod that leads; empty where none does."""
    lease = json.loads(
        kubectl(
            cluster, "get", "lease", "reconciler-default", "--output=json", "--ignore-not-found"
        )
    )
    return str(lease["spec"].get("holderIdentity") or "").rpartition("-")[0]


@contextmanager
def forwarded(cluster: NodeCluster, pod: str) -> Iterator[str]:
    """The page, by ``kubectl port-forward`` as docs/deploy.md has it."""
    port = free(1)[0]
    command = [
        str(cluster.binaries["kubectl"]), f"--kubeconfig={cluster.kubeconfig}",
        "--namespace=reconciler", "port-forward", f"pod/{pod}", f"{port}:8080",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "Forwarding from" in process.stdout.readline()
        yield f"http://localhost:{port}"
        process.terminate()
