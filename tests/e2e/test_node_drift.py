"""A Job that somebody deletes while its command runs: it is made again, and never twice at once."""

from __future__ import annotations

import pytest

from tests.e2e.node_site import NodeSite, daemon, program, until

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
    node_site: NodeSite,
) -> None:
    site = node_site
    program(site, "m", LINGERS)
    site.push()
    with daemon(site):
        until(lambda: list((site.root / "bucket").rglob("busy")), what="the first attempt")
        first = site.job("m")
        path = f"{site.namespace.jobs}/{first['metadata']['name']}"
        site.cluster.api.request("DELETE", path, {"propagationPolicy": "Background"})
        until(lambda: site.phases()["m"] == "Ready", what="the second attempt")
        second = site.job("m")
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    folder = site.artifact("m")
    assert (folder / "weights").read_text() == "made"
    assert sorted(file.name for file in (folder / "logs").iterdir()) == [
        "attempt-1.log",
        "attempt-2.log",
    ], "an attempt that had found another one at work would have failed, and been a third"
