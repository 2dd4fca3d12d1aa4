"""The whole on a cluster whose node runs pods: Git, builds, a registry, buckets, trainings.

Everything is real: images are built by BuildKit from the manifest repository's own folders, pushed
to a registry and pulled by the kubelet; artifacts are written through mounts.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.e2e.family import all_ready, check_family, family
from tests.e2e.node_site import NodeSite, daemon, program, until
from tests.e2e.rclone_bucket import rclone_bucket


@pytest.mark.timeout(900)
def test_a_family_is_made_on_the_node_s_disk(node_site: NodeSite) -> None:
    site = node_site
    family(site)
    site.push()
    with daemon(site):
        until(lambda: all_ready(site), what="the family to be Ready")
        statuses = check_family(site)
    folder = site.artifact("fine")
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
    bucket = rclone_bucket(node_cluster, node_namespace, sync="5s")
    site = NodeSite(tmp_path, node_namespace, node_cluster, bucket)
    family(site)
    site.push()
    with daemon(site):
        until(lambda: all_ready(site), what="the family to be Ready")
        statuses = check_family(site)
    place = statuses["fine"]["artifact"]["url"].removeprefix(f"s3://{s3.bucket}/")
    folder = s3.folder / s3.bucket / place
    if not folder.exists():
        folder = s3.folder / place
    assert (folder / "weights").read_text() == "17.5"
    assert json.loads((folder / "completed.json").read_text())["key"] == Path(place).name


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
def test_ranks_find_each_other_and_make_one_artifact(node_site: NodeSite) -> None:
    site = node_site
    program(site, "two", RANKS, resources={"nodes": 2})
    site.push()
    with daemon(site):
        site.ready("two")
    assert (site.artifact("two") / "heard").read_text() == "from rank 1"


@pytest.mark.timeout(900)
def test_what_goes_wrong_is_said_and_told_apart(node_site: NodeSite) -> None:
    site = node_site
    program(site, "memory", "x = bytearray(1 << 30)", resources={"memory": "64Mi"})
    program(site, "slow", "import time; time.sleep(600)", timeout="5s")
    program(site, "absent", "pass", command=["./nowhere.sh"])
    missing = f"{site.cluster.registry}/none@sha256:{'0' * 64}"
    program(site, "image", "pass", image=missing)
    program(site, "secret", "pass", secretEnv={"TOKEN": {"name": "none", "key": "token"}})
    program(site, "large", "pass", resources={"cpu": 1000})
    site.push()

    def reasons() -> dict[str, tuple[str, str]]:
        return {n: (s["phase"], s["message"]) for n, s in site.statuses().items()}

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
            until(seen, what="all reasons")
        except AssertionError:
            assert reasons() == wanted
