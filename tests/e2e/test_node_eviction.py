"""A pod that is evicted in the middle of a training, on a real node."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.api import eventually
from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.e2e.pod_watch import watched
from tests.e2e.site import until
from tests.e2e.test_node import PATIENCE, NodeSite, daemon, hostpath, program

#: The first attempt trains for ever; the next one says where it began, and ends.
TRAINING = """\
import os, time
from pathlib import Path
model, attempt = Path(os.environ["MODEL_DIR"]), int(os.environ["ATTEMPT"])
checkpoint = model / "checkpoint"
step = int(checkpoint.read_text()) if checkpoint.exists() else 0
(model / f"began-{attempt}").write_text(str(step))
while attempt == 1:
    step += 1
    (model / "next").write_text(str(step))
    (model / "next").replace(checkpoint)
    time.sleep(0.1)
(model / "weights").write_text(str(step))
"""


@pytest.mark.timeout(300)
def test_the_attempt_after_an_eviction_resumes(
    tmp_path: Path, node_namespace: Namespace, node_cluster: NodeCluster
) -> None:
    bucket = hostpath(tmp_path)
    site = NodeSite(tmp_path, node_namespace, node_cluster, bucket)
    program(site, "evicted", TRAINING)
    site.push()
    artifacts = Path(bucket["url"].removeprefix("file://"))

    def checkpoint() -> int:
        found = [file.read_text() for file in artifacts.rglob("checkpoint")]
        return int(found[0]) if found else 0

    with watched(node_namespace, tmp_path / "pods.json") as pods, daemon(site):
        eventually(lambda: checkpoint() > 3, "some steps", seconds=PATIENCE)
        (pod,) = node_cluster.api.items(node_namespace.pods)
        name = pod["metadata"]["name"]
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": node_namespace.name},
        }
        before = checkpoint()
        node_cluster.api.create(f"{node_namespace.pods}/{name}/eviction", eviction)
        until(
            lambda: "disrupted" in site.statuses()["evicted"]["reason"],
            what="the reason",
            patience=PATIENCE,
        )
        assert site.phases()["evicted"] != "Ready"
        until(lambda: site.phases()["evicted"] == "Ready", what="its end", patience=PATIENCE)
        status = site.statuses()["evicted"]
    (task,) = status["tasks"]
    assert task["attempts"] == 2
    folder = Path(status["artifact"]["url"].removeprefix("file://"))
    assert int((folder / "began-1").read_text()) == 0
    assert int((folder / "began-2").read_text()) >= before
    assert (folder / "weights").read_text() == (folder / "began-2").read_text()
    (of_key,) = pods.pods().values()
    assert len(of_key) == 2
    pods.never_two_of_a_key()
