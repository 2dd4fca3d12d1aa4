"""A node that is lost in the middle of a training, with all that was on its disk."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

from tests.cluster.api import eventually
from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.e2e.node_site import NodeSite, daemon, hostpath, program, until
from tests.e2e.pod_watch import watched
from tests.e2e.rclone_bucket import brisk_template, folder_of, rclone_bucket
from tests.e2e.store_proxy import store_proxy

SYNC = 24
#: The first attempt leaves a checkpoint with each moment's time, for ever.
TRAINING = """\
import json, os, time
from pathlib import Path
model, attempt = Path(os.environ["MODEL_DIR"]), int(os.environ["ATTEMPT"])
steps = sorted(model.glob("step-*"))
(model / f"began-{attempt}").write_text(steps[-1].read_text() if steps else "0")
number = 0
while attempt == 1:
    number += 1
    (model / f"step-{number:05}").write_text(str(time.time()))
    time.sleep(0.5)
"""
#: As a profile may have it: Kubernetes' own default gives a node up after five minutes.
SOON = [
    {
        "key": f"node.kubernetes.io/{taint}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 1,
    }
    for taint in ("unreachable", "not-ready")
]


def test_a_lost_node_costs_one_sync_interval_and_nothing_runs_twice(
    tmp_path: Path, own_node_cluster: NodeCluster
) -> None:
    cluster = own_node_cluster
    namespace = Namespace(cluster, "default")
    lists: set[str] = set()
    worst = threading.Event()

    def allowed(path: str) -> bool:
        # The moment before a copy counts is when a loss costs most. It never comes to count.
        file = Path(path).name
        if file.startswith(".reconciler-list-000000001-"):
            lists.add(file)
            if len(lists) == 3:
                worst.set()
            return len(lists) < 3
        return True

    with store_proxy(cluster.s3, cluster.address, allowed) as proxy:
        bucket = rclone_bucket(cluster, namespace, endpoint=proxy.endpoint, sync=f"{SYNC}s")
        site = NodeSite(tmp_path, namespace, cluster, bucket)
        site.configure(kubernetes={"profiles": {"spot": brisk_template(tolerations=SOON)}})
        program(site, "lost", TRAINING, profile="spot")
        site.push()

        with watched(namespace, tmp_path / "pods.json") as pods, daemon(site):
            until(worst.is_set, what="the third copy's list")
            assert site.told("lost") == "Training: running"
            lost_at = time.time()
            cluster.stop("node1")
            cluster.start("node2")
            until(
                lambda: site.told("lost").startswith("Waiting: nothing is heard of node1"),
                what="the loss to be told",
            )
            # The taint has had its pod deleted, but nobody says that it has ended.
            eventually(
                lambda: [
                    p
                    for p in cluster.api.items(namespace.pods)
                    if "deletionTimestamp" in p["metadata"]
                ],
                "the pod's deletion",
            )
            assert site.told("lost").startswith("Waiting: nothing is heard of node1")
            assert len(cluster.api.items(namespace.pods)) == 1
            cluster.api.delete("/api/v1/nodes/node1")
            until(lambda: site.phases()["lost"] == "Ready", what="its end")
            status = site.statuses()["lost"]
    folder = folder_of(cluster, status["artifact"]["url"])
    assert json.loads((folder / "completed.json").read_text())["attempt"] == 2
    lost = lost_at - float((folder / "began-2").read_text())
    assert lost <= SYNC, f"{lost:.1f} s of work were lost"
    (of_key,) = pods.pods().values()
    assert len(of_key) == 2
    pods.never_two_of_a_key()


def test_a_node_that_comes_back_has_kept_its_pod(
    tmp_path: Path, own_node_cluster: NodeCluster
) -> None:
    cluster = own_node_cluster
    namespace = Namespace(cluster, "default")
    site = NodeSite(tmp_path, namespace, cluster, hostpath(tmp_path))
    end = "os.environ['MODEL_DIR'] + '/end'"
    text = f"import os, time\nwhile not os.path.exists({end}): time.sleep(0.1)"
    program(site, "cut", text)
    site.push()

    with watched(namespace, tmp_path / "pods.json") as pods, daemon(site):
        until(lambda: site.told("cut") == "Training: running", what="its start")
        cluster.cut("node1")
        until(
            lambda: site.told("cut").startswith("Waiting: nothing is heard of node1"),
            what="the loss to be told",
        )
        # What it is asked to be changes meanwhile: the run is to end, and may still run.
        program(site, "cut", text, params={"epochs": 2})
        site.push()
        until(lambda: "the run before it has not ended" in site.told("cut"), what="that to be told")
        assert site.told("cut").startswith("Waiting:")
        assert len(cluster.api.items(namespace.pods)) == 1
        cluster.mend("node1")
        until(lambda: site.told("cut") == "Training: running", what="the next run")
        (running,) = [
            p for p in (tmp_path / "bucket").rglob("attempt-1.log") if key_of(site) in str(p)
        ]
        (running.parents[1] / "end").touch()
        until(lambda: site.told("cut") == "Ready: complete", what="its end")
    assert len(pods.pods()) == 2
    pods.never_two_of_a_key()


def key_of(site: NodeSite) -> str:
    return str(site.statuses()["cut"]["desired"]["key"])
