"""The whole on a cluster whose node runs pods: Git, builds, a registry, buckets, trainings.

Everything is real: images are built by BuildKit from the manifest repository's own folders, pushed
to a registry and pulled by the kubelet; artifacts are written through mounts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import ClusterSite
from tests.e2e.rclone_bucket import rclone_bucket
from tests.e2e.site import git, stop, until
from tests.git.remotes import HttpRemote

PATIENCE = 300.0
DATA = """\
#!/bin/sh
set -eu
seq 1 "$PARAM_ROWS" > "$DATA_DIR/rows"
"""
TRAIN = """\
#!/usr/bin/env python3
import json, os
from pathlib import Path
model = Path(os.environ["MODEL_DIR"])
params = json.loads(Path(os.environ["PARAMS_FILE"]).read_text())
rows = len((Path(os.environ["DATA_DIR"]) / "rows").read_text().split())
base = os.environ.get("BASE_MODEL_DIR")
weight = params["rate"] * rows + (float((Path(base) / "weights").read_text()) if base else 0)
(model / "checkpoints").mkdir(exist_ok=True)
(model / "checkpoints" / f"{os.environ['ATTEMPT']}.txt").write_text("made")
if int(os.environ["ATTEMPT"]) <= params.get("failures", 0):
    raise SystemExit("out of luck")
(model / "weights").write_text(str(weight))
(model / "metrics.json").write_text(json.dumps({"weight": weight}))
print("trained")
"""


class NodeSite(ClusterSite):
    """A site whose pods run: sources are folders of the manifest repository, served over HTTP."""

    def __init__(
        self,
        root: Path,
        namespace: Namespace,
        cluster: NodeCluster,
        bucket: dict[str, Any],
        *,
        forge: HttpRemote | None = None,
    ) -> None:
        self.cluster = cluster
        self.bucket = bucket
        self.forge = forge or HttpRemote(root, address=cluster.address)
        super().__init__(root, namespace)
        git(self.remote, "config", "http.receivepack", "true")

    def configure(self, **sections: Any) -> None:
        theirs = self.cluster.configuration
        mine: dict[str, Any] = {
            "repository": {"url": self.forge.url("manifests.git")},
            "sources": {"allow": ["http://*"]},
            "kubernetes": {
                **theirs["kubernetes"],
                "namespace": self.namespace.name,
                "namespaces": [self.namespace.name],
                "lease": "30s",
            },
            "registry": theirs["registry"],
            "buckets": {"default": self.bucket},
        }
        for name, section in sections.items():
            mine[name] = {**mine.get(name, {}), **section}
        super().configure(**mine)

    def dockerfile(self, folder: str, script: str, text: str) -> None:
        self.write(f"{folder}/{script}", text, executable=True)
        self.write(
            f"{folder}/Dockerfile",
            f"FROM {self.cluster.images['python']}\nWORKDIR /app\nCOPY {script} .\n",
        )

    def family(self) -> None:
        """A dataset, a base that is trained on it, and a finetune of that."""
        self.dockerfile("src/data", "load.sh", DATA)
        self.dockerfile("src/model", "train.sh", TRAIN)
        self.write(
            "data.yaml",
            "kind: Dataset\nmetadata: {name: rows}\nspec:\n"
            "  source: {git: {url: ., path: src/data}}\n  load: {params: {rows: 7}}\n",
        )
        self.write(
            "base.yaml",
            "kind: Model\nmetadata: {name: base}\nspec:\n"
            "  source: {git: {url: ., path: src/model}}\n"
            "  training: {mode: Scratch, dataset: {name: rows}, params: {rate: 2}}\n",
        )
        self.write(
            "fine.yaml",
            "kind: Model\nmetadata: {name: fine}\nspec:\n  source: {model: {name: base}}\n"
            "  training: {dataset: {name: rows}, params: {rate: 0.5, failures: 1}, retries: 1}\n",
        )


def object_store(cluster: NodeCluster, namespace: Namespace) -> dict[str, Any]:
    """A bucket of the cluster's object store, by rclone, that is copied to often."""
    return rclone_bucket(cluster, namespace, sync="5s")


@contextmanager
def daemon(site: NodeSite) -> Iterator[None]:
    process = site.daemon()
    try:
        yield
        assert stop(process) == 0
        assert "Traceback" not in site.log_of()
    finally:
        stop(process, 9)
        site.forge.close()


def all_ready(site: NodeSite) -> bool:
    phases = site.phases()
    assert "Failed" not in phases.values(), site.statuses()
    return len(phases) == 3 and set(phases.values()) == {"Ready"}


def check_family(site: NodeSite) -> dict[str, Any]:
    statuses = site.statuses()
    assert statuses["base"]["artifact"]["metrics"] == {"weight": 14.0}
    assert statuses["fine"]["artifact"]["metrics"] == {"weight": 17.5}
    (task,) = [t for t in statuses["fine"]["tasks"] if t["task"] == "train"]
    assert task["attempts"] == 2
    assert statuses["base"]["image"].startswith(f"{site.cluster.registry}/models/")
    return statuses


@pytest.mark.timeout(900)
def test_a_family_is_made_on_the_node_s_disk(
    tmp_path: Path, node_namespace: Namespace, node_cluster: NodeCluster
) -> None:
    bucket = tmp_path / "bucket"
    bucket.mkdir(mode=0o777)
    site = NodeSite(tmp_path, node_namespace, node_cluster, {"url": bucket.as_uri()})
    site.family()
    site.push()
    with daemon(site):
        until(lambda: all_ready(site), what="the family to be Ready", patience=PATIENCE)
        statuses = check_family(site)
    folder = Path(statuses["fine"]["artifact"]["url"].removeprefix("file://"))
    assert (folder / "weights").read_text() == "17.5"
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["1.txt", "2.txt"]
    assert (folder / "logs" / "attempt-2.log").read_text() == "trained\n"
    marker = json.loads((folder / "completed.json").read_text())
    assert marker["key"] == statuses["fine"]["artifact"]["key"]
    assert {f["path"] for f in marker["files"]} == {
        "checkpoints/1.txt", "checkpoints/2.txt", "metrics.json", "weights",
    }  # fmt: skip
    assert marker["base"]["key"] == statuses["base"]["artifact"]["key"]


@pytest.mark.timeout(900)
def test_a_family_is_made_in_an_object_store(
    tmp_path: Path, node_namespace: Namespace, node_cluster: NodeCluster
) -> None:
    s3 = node_cluster.s3
    bucket = object_store(node_cluster, node_namespace)
    site = NodeSite(tmp_path, node_namespace, node_cluster, bucket)
    site.family()
    site.push()
    with daemon(site):
        until(lambda: all_ready(site), what="the family to be Ready", patience=PATIENCE)
        statuses = check_family(site)
    place = statuses["fine"]["artifact"]["url"].removeprefix(f"s3://{s3.bucket}/")
    folder = s3.folder / s3.bucket / place
    if not folder.exists():
        folder = s3.folder / place
    assert (folder / "weights").read_text() == "17.5"
    assert json.loads((folder / "completed.json").read_text())["key"] == Path(place).name


def hostpath(tmp_path: Path) -> dict[str, Any]:
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    bucket.chmod(0o777)
    return {"url": bucket.as_uri()}


def program(site: NodeSite, name: str, text: str, **training: Any) -> None:
    """A Model that is trained by a Python program in an image that is there."""
    section = {"mode": "Scratch", "command": ["python3", "-c", text], **training}
    image = training.pop("image", None) or site.cluster.images["python"]
    section.pop("image", None)
    spec = {"source": {"image": {"ref": image}}, "training": section}
    manifest = {"kind": "Model", "metadata": {"name": name}, "spec": spec}
    site.write(f"{name}.yaml", json.dumps(manifest))


RANKS = """\
import os, socket
rank, port = int(os.environ["NODE_RANK"]), int(os.environ["MASTER_PORT"])
assert os.environ["NNODES"] == "2"
if rank == 0:
    server = socket.create_server(("", port))
    peer, _ = server.accept()
    open(os.environ["MODEL_DIR"] + "/heard", "wb").write(peer.recv(100))
else:
    while True:
        try:
            peer = socket.create_connection((os.environ["MASTER_ADDR"], port), 1)
            break
        except OSError:
            pass
    peer.sendall(b"from rank 1")
"""


@pytest.mark.timeout(900)
def test_ranks_find_each_other_and_make_one_artifact(
    tmp_path: Path, node_namespace: Namespace, node_cluster: NodeCluster
) -> None:
    site = NodeSite(tmp_path, node_namespace, node_cluster, hostpath(tmp_path))
    program(site, "two", RANKS, resources={"nodes": 2})
    site.push()
    with daemon(site):
        until(lambda: "two" in site.statuses(), what="a status", patience=PATIENCE)
        until(
            lambda: site.phases()["two"] in ("Ready", "Failed"), what="its end", patience=PATIENCE
        )
    status = site.statuses()["two"]
    assert status["phase"] == "Ready", status
    folder = Path(status["artifact"]["url"].removeprefix("file://"))
    assert (folder / "heard").read_text() == "from rank 1"


@pytest.mark.timeout(900)
def test_what_goes_wrong_is_said_and_told_apart(
    tmp_path: Path, node_namespace: Namespace, node_cluster: NodeCluster
) -> None:
    site = NodeSite(tmp_path, node_namespace, node_cluster, hostpath(tmp_path))
    program(site, "memory", "x = bytearray(1 << 30)", resources={"memory": "64Mi"})
    program(site, "slow", "import time; time.sleep(600)", timeout="5s")
    program(site, "absent", "pass", command=["./nowhere.sh"])
    missing = f"{node_cluster.registry}/none@sha256:{'0' * 64}"
    program(site, "image", "pass", image=missing)
    program(site, "secret", "pass", secretEnv={"TOKEN": {"name": "none", "key": "token"}})
    program(site, "large", "pass", resources={"cpu": 1000})
    site.push()

    def reasons() -> dict[str, tuple[str, str]]:
        return {n: (s["phase"], s["reason"]) for n, s in site.statuses().items()}

    wanted = {
        "memory": ("Failed", "ran out of memory"),
        "slow": ("Failed", "within its timeout of 5s"),
        "absent": ("Failed", "nowhere.sh"),
        "image": ("Pending", "cannot be pulled"),
        "secret": ("Pending", 'secret "none" not found'),
        "large": ("Pending", "Insufficient cpu"),
    }

    def seen() -> bool:
        found = reasons()
        return all(
            name in found and found[name][0] == phase and reason in found[name][1]
            for name, (phase, reason) in wanted.items()
        )

    with daemon(site):
        try:
            until(seen, what="all reasons", patience=120)
        except AssertionError:
            assert reasons() == wanted
