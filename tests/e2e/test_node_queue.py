"""A queue that takes a run's place away, as Kueue does for one of a higher priority."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.node_site import NodeSite, daemon, program, until
from tests.e2e.pod_watch import watched

TRAINING = """\
import os, time
from pathlib import Path
model, attempt = Path(os.environ["MODEL_DIR"]), os.environ["ATTEMPT"]
(model / f"attempt-{attempt}").write_text("began")
while attempt == "1":
    time.sleep(0.1)
"""


def test_a_run_whose_place_is_taken_away_is_queued_again(
    node_site: NodeSite, tmp_path: Path
) -> None:
    site, api, namespace = node_site, node_site.cluster.api, node_site.namespace
    program(site, "queued", TRAINING, queue="team")
    site.push()

    def suspend(suspended: bool) -> None:
        """What Kueue writes, who owns this field of the Jobs of its queues."""
        (job,) = api.items(namespace.jobs)
        path = f"{namespace.jobs}/{job['metadata']['name']}"
        api.request("PATCH", path, {"spec": {"suspend": suspended}})

    queued = "Pending: queued in team, but this cluster has no Kueue: its Job stays suspended"
    with watched(namespace, tmp_path / "pods.json") as pods, daemon(site):
        until(lambda: site.told("queued") == queued, what="it to be queued")
        (job,) = api.items(namespace.jobs)
        suspend(False)
        until(lambda: list((tmp_path / "bucket").rglob("attempt-1")), what="its start")
        suspend(True)
        until(lambda: site.told("queued") == queued, what="it to be queued again")
        until(lambda: not api.items(namespace.pods), what="its pod to end")
        (again,) = api.items(namespace.jobs)
        assert again["metadata"]["uid"] == job["metadata"]["uid"]
        suspend(False)
        until(lambda: site.told("queued") == "Ready: complete", what="its end")
    (of_key,) = pods.pods().values()
    assert len(of_key) == 2
    pods.never_two_of_a_key()
