"""A Job that somebody deletes while its command runs: it is made again, and never twice at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.e2e.node_site import PATIENCE, NodeSite, daemon, hostpath, program
from tests.e2e.site import until

#: The first attempt takes its time to end when it is told to, as one that saves its state does.
LINGERS = """\
import os, signal, time
from pathlib import Path
model = Path(os.environ["MODEL_DIR"])
busy = model / "busy"
assert not busy.exists(), "another attempt is still at it"
busy.touch()
def end(*_):
    time.sleep(8)
    busy.unlink()
    raise SystemExit(143)
signal.signal(signal.SIGTERM, end)
if os.environ["ATTEMPT"] == "1":
    time.sleep(600)
busy.unlink()
(model / "weights").write_text("made")
"""


@pytest.mark.timeout(900)
def test_a_job_that_is_deleted_by_hand_is_made_again_once_its_pods_have_ended(
    tmp_path: Path, node_namespace: Namespace, node_cluster: NodeCluster
) -> None:
    site = NodeSite(tmp_path, node_namespace, node_cluster, hostpath(tmp_path))
    program(site, "m", LINGERS)
    site.push()
    api = node_cluster.api

    def attempt_begun() -> bool:
        return bool(list((tmp_path / "bucket").rglob("busy")))

    with daemon(site):
        until(attempt_begun, what="the first attempt", patience=PATIENCE)
        first = site.job("m")
        path = f"{node_namespace.jobs}/{first['metadata']['name']}"
        api.request("DELETE", path, {"propagationPolicy": "Background"})
        until(lambda: site.phases()["m"] == "Ready", what="the second attempt", patience=PATIENCE)
        second = site.job("m")
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    status = site.statuses()["m"]
    folder = Path(status["artifact"]["url"].removeprefix("file://"))
    assert (folder / "weights").read_text() == "made"
    assert sorted(file.name for file in (folder / "logs").iterdir()) == [
        "attempt-1.log",
        "attempt-2.log",
    ], "an attempt that had found another one at work would have failed, and been a third"
