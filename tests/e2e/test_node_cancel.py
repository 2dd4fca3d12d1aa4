"""``cancel --now`` on a node: the command gets its signal, and its files stay for a retry."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import processes
from tests.e2e.node_site import NodeSite, daemon, program, until

TRAINING = """\
import os, signal, sys, time
from pathlib import Path
model, attempt = Path(os.environ["MODEL_DIR"]), os.environ["ATTEMPT"]
def end(*_):
    (model / "saved").write_text("by SIGTERM")
    sys.exit(1)
signal.signal(signal.SIGTERM, end)
(model / f"attempt-{attempt}").write_text("began")
while attempt == "1":
    time.sleep(0.1)
"""


@pytest.mark.timeout(900)
def test_a_run_is_ended_on_its_node_and_a_retry_goes_on(
    node_site: NodeSite, tmp_path: Path
) -> None:
    site = node_site
    program(site, "a", TRAINING, retries=2)
    site.push()
    with daemon(site):
        until(lambda: list((tmp_path / "bucket").rglob("attempt-1")), what="its start")
        until(lambda: site.phases().get("a") == "Training", what="its status")
        done = processes.run(
            site.command("cancel", "a", "--now", "--reason", "enough"),
            cwd=site.root,
            env={**os.environ, **site.environment()},
        )
        assert done.returncode == 0, done.stderr
        assert "was ended; what its command has left stays" in done.stdout
        until(lambda: site.phases().get("a") == "Failed", what="the status")
        assert site.told("a").endswith("UTC: enough")
        assert list((tmp_path / "bucket").rglob("saved"))
        (pod,) = site.cluster.api.items(site.namespace.pods)
        assert pod["status"]["reason"] == "DeadlineExceeded"
        manifest = (site.work / "a.yaml").read_text()
        site.write(
            "a.yaml",
            manifest.replace(
                '"name": "a"', '"name": "a", "annotations": {"substratus.ai/retry": "1"}'
            ),
        )
        site.push()
        until(lambda: site.phases()["a"] == "Ready", what="the end of its retry")
    assert site.statuses()["a"]["tasks"][-1]["attempts"] == 2
