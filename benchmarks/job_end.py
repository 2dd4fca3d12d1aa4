"""From the end of a command to its Job's completion, on a node with real containers.

Nothing is left to copy: the command writes the time of its end into a bucket that it writes
directly, or a staged one, where that one line is all. The baseline is a Job without the wrapper,
whose container ends with its command: the kubelet and the Job controller take that long for any.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.job_watch import await_job
from tests.cluster import lease
from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.e2e.node_site import NodeSite, daemon, hostpath, program
from tests.e2e.rclone_bucket import folder_of, rclone_bucket

ROUNDS = 5
ENDED = "import os, time; print(time.time(), file=open(os.environ['MODEL_DIR'] + '/ended', 'w'))"
BY_HAND = "import time; print(time.time(), file=open('/dev/termination-log', 'w'))"


def measure(rounds: int = ROUNDS) -> Iterator[Figure]:
    """Yield the figures of a bucket that is written directly, and of a staged one."""
    with tempfile.TemporaryDirectory() as name, lease.node(Path(name, "c")) as cluster:
        found = {kind: _measure(Path(name), cluster, kind, rounds) for kind in ("direct", "staged")}
    for kind, pairs in found.items():
        yield Figure(
            name=f"end.{kind}",
            title=f"command ended to Job complete, {kind}",
            baseline="a Job without the wrapper",
            unit="s",
            rounds=pairs,
            aim_value=2.0,
        )


def _measure(
    folder: Path, cluster: NodeCluster, kind: str, rounds: int
) -> list[tuple[float, float]]:
    root = folder / kind
    root.mkdir()
    folder.chmod(0o755)
    cluster.api.create("/api/v1/namespaces", {"metadata": {"name": kind}})
    namespace = Namespace(cluster, kind)
    bucket = hostpath(root) if kind == "direct" else rclone_bucket(cluster, namespace)
    site = NodeSite(root, namespace, cluster, bucket)
    site.push()
    with daemon(site):
        return [
            (_ours(site, f"m{number}"), _by_hand(site, f"raw{number}")) for number in range(rounds)
        ]


def _ours(site: NodeSite, name: str) -> float:
    program(site, name, ENDED)
    site.push()
    query = f"{site.namespace.jobs}?labelSelector=substratus.ai/name={name}"
    _, complete = await_job(site.cluster, query, frozenset())
    url = str(site.ready(name)["artifact"]["url"])
    local = url.startswith("file://")
    folder = Path(url.removeprefix("file://")) if local else folder_of(site.cluster, url)
    return complete - float((folder / "ended").read_text())


def _by_hand(site: NodeSite, name: str) -> float:
    container = {
        "name": "main",
        "image": site.cluster.images["python"],
        "command": ["python3", "-c", BY_HAND],
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": {"by-hand": name}},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }
    site.cluster.api.create(site.namespace.jobs, job)
    path = f"{site.namespace.jobs}?labelSelector=by-hand={name}"
    _, complete = await_job(site.cluster, path, frozenset())
    query = f"{site.namespace.pods}?labelSelector=job-name={name}"
    (pod,) = site.cluster.api.items(query)
    (status,) = pod["status"]["containerStatuses"]
    return complete - float(status["state"]["terminated"]["message"])
