"""A queue that takes a run's place away, as Kueue does for one of a higher priority."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.e2e.node_site import PATIENCE, NodeSite, daemon, hostpath, program
from tests.e2e.pod_watch import watched
from tests.e2e.site import until

TRAINING = """\
import os, time
from pathlib import Path
model, attempt = Path(os.environ["MODEL_DIR"]), os.environ["ATTEMPT"]
(model / f"attempt-{attempt}").write_text("began")
while attempt == "1":
    time.sleep(0.1)
"""


@pytest.mark.timeout(300)
def test_a_run_whose_place_is_taken_away_is_queued_again(
    tmp_path: Path, node_namespace: Namespace, node_cluster: NodeCluster
) -> None:
    site = NodeSite(tmp_path, node_namespace, node_cluster, hostpath(tmp_path))
    program(site, "queued", TRAINING, queue="team")
    site.push()

    def suspend(suspended: bool) -> None:
        """What Kueue writes, who owns this field of the Jobs of its queues."""
        (job,) = node_cluster.api.items(node_namespace.jobs)
        path = f"{node_namespace.jobs}/{job['metadata']['name']}"
        node_cluster.api.request("PATCH", path, {"spec": {"suspend": suspended}})

    def reason() -> str:
        status = site.statuses().get("queued", {})
        return f"{status.get('phase')}: {status.get('message')}"

    queued = "Pending: queued: Kueue has not admitted it yet"
    with watched(node_namespace, tmp_path / "pods.json") as pods, daemon(site):
        until(lambda: reason() == queued, what="it to be queued", patience=PATIENCE)
        (job,) = node_cluster.api.items(node_namespace.jobs)
        suspend(False)
        until(lambda: list(tmp_path.rglob("attempt-1")), what="its start", patience=PATIENCE)
        suspend(True)
        until(lambda: reason() == queued, what="it to be queued again", patience=PATIENCE)
        until(
            lambda: not node_cluster.api.items(node_namespace.pods),
            what="its pod to end",
            patience=PATIENCE,
        )
        (again,) = node_cluster.api.items(node_namespace.jobs)
        assert again["metadata"]["uid"] == job["metadata"]["uid"]
        suspend(False)
        until(lambda: reason() == "Ready: complete", what="its end", patience=PATIENCE)
    (of_key,) = pods.pods().values()
    assert len(of_key) == 2
    pods.never_two_of_a_key()
