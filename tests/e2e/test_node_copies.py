"""The status says how far a copy to the bucket is while it is under way."""

from __future__ import annotations

import json
import os
import re
import urllib.request
from pathlib import Path

import pytest

from tests import processes
from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.cluster.ports import free
from tests.e2e.node_site import NodeSite, daemon, hostpath, program, until
from tests.e2e.site import git

MIB = 1 << 20
#: It leaves a file of 1 MiB and one of 3 MiB, and ends when a branch named ``go`` is pushed.
CHECKPOINTS = """\
import json, os, time, urllib.request
from pathlib import Path
refs = json.loads(Path(os.environ["PARAMS_FILE"]).read_text())["refs"]
for name, size in (("a", 1 << 20), ("b", 3 << 20)):
    (Path(os.environ["MODEL_DIR"]) / name).write_bytes(bytes(size))
while b"refs/heads/go" not in urllib.request.urlopen(refs).read():
    time.sleep(0.5)
"""


@pytest.mark.timeout(600)
def test_status_why_and_page_say_how_far_a_copy_to_the_bucket_is(
    tmp_path: Path, node_namespace: Namespace, node_cluster: NodeCluster
) -> None:
    bucket = hostpath(tmp_path) | {"writes": "staged"}
    site = NodeSite(tmp_path, node_namespace, node_cluster, bucket)
    address = f"127.0.0.1:{free(1)[0]}"
    often = [{"name": "RECONCILER_PROGRESS", "value": "1"}]
    template = {"spec": {"containers": [{"name": "main", "env": often}]}}
    site.configure(server={"address": address}, kubernetes={"profiles": {"often": template}})
    refs = f"{site.forge.url('manifests.git')}/info/refs?service=git-upload-pack"
    program(site, "m", CHECKPOINTS, params={"refs": refs}, profile="often")
    site.push()
    with daemon(site):
        until(lambda: site.told("m") == "Training: running", what="its command")
        (logs,) = Path(bucket["url"].removeprefix("file://")).glob("**/m/*/logs")
        # In the place of the second file there is a pipe: who reads it says how far the copy is.
        pipe = logs.parent / "b"
        os.mkfifo(pipe)
        git(site.work, "push", "--quiet", "origin", "HEAD:refs/heads/go")
        handle = os.open(pipe, os.O_RDONLY)
        left = int(1.44 * MIB)
        while left > 0:
            left -= len(os.read(handle, min(left, 65536)))
        copying = re.compile(r"copying 1 of 2 files, 6[1-4] %")
        until(
            lambda: copying.fullmatch(site.told("m").removeprefix("Training: ")),
            what="the copy in the status",
        )
        for command in ("status", "why"):
            assert copying.search(processes.run(site.command(command, "m")).stdout), command
        page = f"http://{address}/objects/{node_namespace.name}/models/m"
        assert copying.search(urllib.request.urlopen(page, timeout=30).read().decode())
        (task,) = [t for t in site.statuses()["m"]["tasks"] if t["task"] == "train"]
        assert task["reason"] == "CopyingOut", json.dumps(task)
        os.close(handle)
