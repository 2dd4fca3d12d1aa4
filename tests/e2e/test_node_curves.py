"""Curves of pods that are killed and of daemons that are started anew, on a node."""

from __future__ import annotations

import os
import re
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from reconciler.engine import read_curves
from tests import processes
from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.e2e import cluster_site
from tests.e2e.node_site import NodeSite, program, reports_server, until
from tests.e2e.rclone_bucket import folder_of, rclone_bucket
from tests.e2e.site import git

#: It reports steps of a tenth of a second, of 1,000 times its attempt and on; the third ends when
#: a branch named ``go`` is pushed.
_TRAINING = """\
import json, os, time, urllib.request
attempt, file = int(os.environ["ATTEMPT"]), os.environ["PROGRESS_FILE"]
refs = json.load(open(os.environ["PARAMS_FILE"]))["refs"]
step = 1000 * attempt
while attempt < 3 or b"refs/heads/go" not in urllib.request.urlopen(refs).read():
    step += 1
    report = {"step": step, "progressPercentage": 40, "metrics": {"step": step}}
    json.dump(report, open(file + ".new", "w"))
    os.rename(file + ".new", file)
    time.sleep(0.1)
open(os.environ["MODEL_DIR"] + "/weights", "w").write("made")
"""


@pytest.mark.timeout(1200)
def test_no_curve_is_lost_with_a_pod_a_command_or_a_daemon(
    tmp_path: Path,
    node_namespace: Namespace,
    node_cluster: NodeCluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = NodeSite(
        tmp_path, node_namespace, node_cluster, rclone_bucket(node_cluster, node_namespace)
    )
    server = reports_server(tmp_path, node_cluster)
    port = server["address"].rpartition(":")[2]
    brisk = {"containers": [{"name": "main", "env": [{"name": "RECONCILER_CURVES", "value": "1"}]}]}
    site.configure(
        kubernetes={"templates": {"train": {"spec": brisk}}},
        server={**server, "address": f"0.0.0.0:{port}"},
    )
    refs = f"{site.forge.url('manifests.git')}/info/refs?service=git-upload-pack"
    program(site, "m", _TRAINING, params={"refs": refs}, retries=5)
    site.push()
    _give_credentials(monkeypatch, node_cluster)

    def kept(attempt: int) -> list[float]:
        """The steps that the store has of an attempt."""
        folder = folder_of(node_cluster, site.bucket["url"])
        found = [*folder.rglob(f"logs/progress-{attempt}.jsonl")]
        curves = read_curves(found[0].read_bytes().splitlines(keepends=True)) if found else None
        return [p.value for p in curves.metrics.get("step", ())] if curves is not None else []

    def page(query: str = "") -> str:
        url = f"http://127.0.0.1:{port}/objects/{node_namespace.name}/models/m?task=train{query}"
        text: str = urllib.request.urlopen(url, timeout=60).read().decode()
        return text

    try:
        with cluster_site.daemon(site):
            until(lambda: len(kept(1)) > 1, what="the curve of the first attempt")
            assert _kill(node_cluster, node_namespace, wrapper=True)
            until(lambda: len(kept(2)) > 1, what="the curve of the second attempt")
            until(lambda: site.statuses()["m"]["tasks"][-1]["attempts"] == 2, what="its status")
        first, before = min(kept(2)), max(kept(2))
        with cluster_site.daemon(site):
            until(lambda: max(kept(2)) > before, what="what comes after the daemon's restart")
            until(lambda: "40%" in _table(site), what="the percentage in the table")
            assert _kill(node_cluster, node_namespace, wrapper=False)
            until(lambda: len(kept(3)) > 1, what="the curve of the third attempt")
            git(site.work, "push", "--quiet", "origin", "HEAD:refs/heads/go")
            site.ready("m")
        with cluster_site.daemon(site):
            until(lambda: _answers(f"http://127.0.0.1:{port}/"), what="the page of another daemon")
            for attempt in (1, 2, 3):
                drawn = rf'aria-label="step: [^"]* between {attempt}'
                assert re.search(drawn, page(f"&attempt={attempt}")), attempt
            compare = f"http://127.0.0.1:{port}/compare"
            text = urllib.request.urlopen(compare, timeout=60).read().decode()
            assert 'aria-label="step of ' in text
    finally:
        site.forge.close()
    assert min(kept(2)) == first, "the first daemon's points"


def _give_credentials(monkeypatch: pytest.MonkeyPatch, cluster: NodeCluster) -> None:
    """Let the daemon read the bucket."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", cluster.s3.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", cluster.s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", cluster.s3.secret_key)
    monkeypatch.setenv("AWS_REGION", "us-east-1")


def _table(site: NodeSite) -> str:
    environment = {**os.environ, **site.environment()}
    return processes.run(site.command("status"), cwd=site.root, env=environment).stdout


def _kill(cluster: NodeCluster, namespace: Namespace, *, wrapper: bool) -> bool:
    """Kill the wrapper in the namespace's pod, and so all of its container, or the command."""
    pods = {str(pod["metadata"]["uid"]) for pod in cluster.api.items(namespace.pods)}
    killed = False
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if _TRAINING in words and ("/.reconciler/wrapper.sh" in words) == wrapper:
            # What the wrapper starts meanwhile ends soon by itself.
            with suppress(FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):
                cgroup = Path(f"/proc/{process.pid}/cgroup").read_text()
                if any(pod in cgroup for pod in pods):
                    process.kill()
                    killed = True
    return killed


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
