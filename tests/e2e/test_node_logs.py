"""What a run on a cluster printed: from its pod, and from the object store once that is gone."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests import processes
from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.cluster.ports import free
from tests.e2e.node_site import NodeSite, daemon, program, until
from tests.e2e.rclone_bucket import rclone_bucket
from tests.e2e.site import git

#: It fails once, and ends the second time when a branch named ``go`` is pushed.
TALKER = """\
#!/usr/bin/env python3
import json, os, time, urllib.request
from pathlib import Path
attempt = os.environ["ATTEMPT"]
print("attempt", attempt, "begins", flush=True)
if attempt == "1":
    raise SystemExit("out of luck")
refs = json.loads(Path(os.environ["PARAMS_FILE"]).read_text())["refs"]
while b"refs/heads/go" not in urllib.request.urlopen(refs).read():
    time.sleep(0.5)
print("attempt", attempt, "ends")
(Path(os.environ["MODEL_DIR"]) / "weights").write_text("made")
"""


@pytest.mark.timeout(900)
def test_logs_come_from_the_pod_and_then_from_the_object_store(
    tmp_path: Path, node_namespace: Namespace, node_cluster: NodeCluster
) -> None:
    bucket = rclone_bucket(node_cluster, node_namespace, sync="5s")
    site = NodeSite(tmp_path, node_namespace, node_cluster, bucket)
    address = f"127.0.0.1:{free(1)[0]}"
    site.configure(server={"address": address})
    site.dockerfile("src", "train.sh", TALKER)
    refs = f"{site.forge.url('manifests.git')}/info/refs?service=git-upload-pack"
    site.write(
        "m.yaml",
        "kind: Model\nmetadata: {name: m}\nspec:\n  source: {git: {url: ., path: src}}\n"
        f"  training: {{mode: Scratch, params: {{refs: {json.dumps(refs)}}}, retries: 1}}\n",
    )
    site.push()
    followed = tmp_path / "followed"
    with daemon(site):
        until(lambda: "m" in site.statuses(), what="the first status")
        follower = follow(site, followed)
        until(
            lambda: "attempt 2 begins" in logs(site).stdout,
            what="what the second attempt prints while it runs",
        )
        until(lambda: training(site)["attempts"] == 2, what="its status")
        running = logs(site)
        assert "out of luck" not in running.stdout
        assert f"pod {node_namespace.name}/" in running.stderr
        assert "pushing" in logs(site, "--task", "build").stdout
        page = f"http://{address}/objects/{node_namespace.name}/models/m"
        assert "attempt 2 begins" in urllib.request.urlopen(page, timeout=30).read().decode()
        assert training(site)["log"].endswith("/logs/attempt-1.log")

        git(site.work, "push", "--quiet", "origin", "HEAD:refs/heads/go")
        until(lambda: site.phases()["m"] == "Ready", what="the end")
        assert "attempt 2 ends" in logs(site).stdout
        assert follower.wait(90) == 0
        lines = followed.read_text().splitlines()
        train = [line for line in lines if line.startswith("attempt ")]
        assert train == ["attempt 1 begins", "attempt 2 begins", "attempt 2 ends"]

        job = training(site)["job"]
        node_cluster.api.request(
            "DELETE", f"{node_namespace.jobs}/{job}", {"propagationPolicy": "Foreground"}
        )
        until(lambda: not pods(node_cluster, node_namespace, job), what="the pods to be gone")
        second = logs(site)
        assert second.stdout == "attempt 2 begins\nattempt 2 ends\n"
        assert training(site)["log"] in second.stderr
        first = logs(site, "--attempt", "1", "--tail", "0")
        assert first.stdout.startswith("attempt 1 begins\nout of luck\n")
        third = logs(site, "--attempt", "3")
        assert third.returncode == 1
        assert "there is no s3://" in third.stderr
        listed = run(site, "artifacts", "m").stdout
        assert "1 artifact, 4 B" in listed, "the size is read from the marker in the store"
        assert "1 artifact, 0 B, and 1 whose size" in run(site, "artifacts", key="wrong").stdout
        refused = logs(site, key="wrong")
        assert refused.returncode == 1
        assert "credentials are taken from AWS_*" in refused.stderr


#: Two ranks, the second of which ends when a branch named ``go`` is pushed.
RANKS = """\
import json, os, time, urllib.request
rank = os.environ["NODE_RANK"]
print("rank", rank, "begins", flush=True)
refs = json.load(open(os.environ["PARAMS_FILE"]))["refs"]
while rank == "1" and b"refs/heads/go" not in urllib.request.urlopen(refs).read():
    time.sleep(0.5)
print("rank", rank, "ends", flush=True)
"""


@pytest.mark.timeout(900)
def test_the_log_of_one_of_two_ranks_is_followed(node_site: NodeSite, tmp_path: Path) -> None:
    site = node_site
    refs = f"{site.forge.url('manifests.git')}/info/refs?service=git-upload-pack"
    program(site, "m", RANKS, params={"refs": refs}, resources={"nodes": 2})
    site.push()
    files = {rank: tmp_path / f"rank-{rank}" for rank in (0, 1)}
    with daemon(site):
        until(lambda: "m" in site.statuses(), what="the first status")
        followers = {rank: follow(site, file, "--rank", str(rank)) for rank, file in files.items()}
        until(lambda: "rank 1 begins" in files[1].read_text(), what="what rank 1 prints meanwhile")
        assert "rank 1 ends" not in files[1].read_text()
        git(site.work, "push", "--quiet", "origin", "HEAD:refs/heads/go")
        site.ready("m")
        for rank, follower in followers.items():
            assert follower.wait(90) == 0
            lines = files[rank].read_text().splitlines()
            printed = [line for line in lines if line.startswith("rank ")]
            assert printed == [f"rank {rank} begins", f"rank {rank} ends"]


def training(site: NodeSite) -> dict[str, Any]:
    """The training of the status of m."""
    return next(task for task in site.statuses()["m"]["tasks"] if task["task"] == "train")


def logs(site: NodeSite, *options: str, key: str | None = None) -> subprocess.CompletedProcess[str]:
    return run(site, "logs", "m", *options, key=key)


def follow(site: NodeSite, out: Path, *options: str) -> subprocess.Popen[bytes]:
    """`logs -f` in the background; both of its outputs go to a file."""
    with out.open("wb") as file:
        return subprocess.Popen(
            site.command("logs", "-f", "m", "--task", "train", "--tail", "0", *options),
            cwd=site.root,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **site.environment()},
        )


def run(site: NodeSite, *command: str, key: str | None = None) -> subprocess.CompletedProcess[str]:
    """A command as typed by a person who may read the bucket, or has another key."""
    s3 = site.cluster.s3
    mine = {
        "AWS_ENDPOINT_URL": s3.endpoint,
        "AWS_ACCESS_KEY_ID": s3.access_key,
        "AWS_SECRET_ACCESS_KEY": key or s3.secret_key,
        "AWS_REGION": "us-east-1",
    }
    return processes.run(
        site.command(*command), cwd=site.root, env={**os.environ, **site.environment(), **mine}
    )


def pods(cluster: NodeCluster, namespace: Namespace, run: str) -> list[str]:
    return [
        pod["metadata"]["name"]
        for pod in cluster.api.items(namespace.pods)
        if pod["metadata"]["labels"].get("batch.kubernetes.io/job-name") == run
    ]
