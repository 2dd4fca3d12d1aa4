"""A pod that is evicted in the middle of a training, on a real node."""

from __future__ import annotations

from pathlib import Path

from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.e2e.node_site import NodeSite, daemon, program, until
from tests.e2e.pod_watch import watched
from tests.e2e.rclone_bucket import brisk_template, folder_of, rclone_bucket

#: The first attempt trains for ever; the next one says where it began, and ends.
TRAINING = """\
import os, time
from pathlib import Path
model, attempt = Path(os.environ["MODEL_DIR"]), int(os.environ["ATTEMPT"])
step = max((int(file.name[5:]) for file in model.glob("step-*")), default=0)
(model / f"began-{attempt}").write_text(str(step))
while attempt == 1:
    step += 1
    (model / f"step-{step}").write_text("a checkpoint")
    print(step, flush=True)
    time.sleep(0.1)
"""


def test_the_attempt_after_an_eviction_resumes_where_it_was(
    tmp_path: Path, node_namespace: Namespace, node_cluster: NodeCluster
) -> None:
    # No copy is due for ten minutes: what the next attempt finds was saved when the first was told.
    bucket = rclone_bucket(node_cluster, node_namespace)
    site = NodeSite(tmp_path, node_namespace, node_cluster, bucket)
    site.configure(kubernetes={"templates": {"train": brisk_template()}})
    program(site, "evicted", TRAINING)
    site.push()
    api, path = node_cluster.api, node_namespace.pods

    def step() -> int:
        """The last one that its log tells of."""
        found = api.items(path)
        if not found or found[0]["status"]["phase"] != "Running":
            return 0
        name = found[0]["metadata"]["name"]
        lines = api.text("GET", f"{path}/{name}/log?container=main&tailLines=1").split()
        return int(lines[-1]) if lines else 0

    with watched(node_namespace, tmp_path / "pods.json") as pods, daemon(site):
        until(lambda: step() > 20, what="some steps")
        (pod,) = api.items(path)
        name = pod["metadata"]["name"]
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": node_namespace.name},
        }
        before = step()
        # What is written in the last second before the end may be half written, and is not taken.
        until(lambda: step() > before + 30, what="three seconds")
        api.create(f"{path}/{name}/eviction", eviction)
        until(lambda: "disrupted" in site.statuses()["evicted"]["message"], what="the reason")
        assert site.phases()["evicted"] != "Ready"
        until(lambda: site.phases()["evicted"] == "Ready", what="its end")
        status = site.statuses()["evicted"]
    (task,) = status["tasks"]
    assert task["attempts"] == 2
    folder = folder_of(node_cluster, status["artifact"]["url"])
    assert int((folder / "began-1").read_text()) == 0
    assert int((folder / "began-2").read_text()) >= before > 20
    (of_key,) = pods.pods().values()
    assert len(of_key) == 2
    pods.never_two_of_a_key()
