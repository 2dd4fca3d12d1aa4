"""A bit that flips in a store of the cluster is found before a run trains on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.e2e.node_site import NodeSite, daemon, program
from tests.e2e.rclone_bucket import brisk_template, folder_of, rclone_bucket

BASE = """\
import os
from pathlib import Path
(Path(os.environ["MODEL_DIR"]) / "weights").write_text("weights")
"""
TUNED = """\
import os
from pathlib import Path
read = (Path(os.environ["BASE_MODEL_DIR"]) / "weights").read_text()
(Path(os.environ["MODEL_DIR"]) / "read").write_text(read)
"""


@pytest.mark.timeout(600)
def test_a_run_does_not_train_on_a_base_with_a_flipped_bit(
    tmp_path: Path, node_namespace: Namespace, node_cluster: NodeCluster
) -> None:
    bucket = rclone_bucket(node_cluster, node_namespace, verify="digests")
    site = NodeSite(tmp_path, node_namespace, node_cluster, bucket)
    site.configure(kubernetes={"templates": {"train": brisk_template()}})
    program(site, "base", BASE)
    site.push()
    with daemon(site):
        made = site.ready("base")["artifact"]
        folder = folder_of(node_cluster, made["url"])
        marker = json.loads((folder / "completed.json").read_text())
        assert all("sha256" in file for file in marker["files"])
        (folder / "weights").write_text("weighty")
        spec = {
            "source": {"model": {"name": "base"}},
            "training": {"command": ["python3", "-c", TUNED]},
        }
        manifest = {"kind": "Model", "metadata": {"name": "tuned"}, "spec": spec}
        site.write("tuned.yaml", json.dumps(manifest))
        site.push()
        tuned = site.ready("tuned")["artifact"]
        history = site.ready("base")["history"]
    assert (folder_of(node_cluster, tuned["url"]) / "read").read_text() == "weights"
    assert (folder / "weights").read_text() == "weights"
    assert [entry["phase"] for entry in history if "lost" in entry] == ["Succeeded"]
