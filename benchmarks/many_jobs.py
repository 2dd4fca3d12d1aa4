"""A push of 1,000 Models that becomes 1,000 Jobs, on a real API server.

The baseline creates the same bodies, already rendered, over the same number of connections and does
nothing else. Both begin when the push has been accepted and end when the API server has the last
Job. The Jobs are suspended, as with a queue: what controllers make of Jobs is not measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.figures import Figure
from benchmarks.installation import count_jobs
from benchmarks.process import cpu_seconds, peak_mebibytes
from reconciler.engines.kubernetes.client import CONNECTIONS
from tests.cluster import lease
from tests.cluster.cluster import Cluster
from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import ClusterSite
from tests.e2e.site import git, stop, until
from tests.e2e.test_operation import post
from tests.git.remotes import HttpRemote

MODELS = 1000
PORT = 18089
RAW = "raw"
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Round:
    """One push of all Models, and the same Jobs by hand.

    Seconds until the last Job and of CPU; MiB of memory at the peak, and before the push.
    """

    wall: float
    raw_wall: float
    cpu: float
    raw_cpu: float
    peak: float
    idle: float


def measure() -> Iterator[Figure]:
    """Yield the figures of time, CPU and memory."""
    with tempfile.TemporaryDirectory() as name, lease.control_plane(Path(name, "c")) as cluster:
        cluster.api.create("/api/v1/namespaces", {"metadata": {"name": RAW}})
        rounds = [_round(Path(name), cluster, number) for number in range(ROUNDS)]
    creates = f"raw creates, {CONNECTIONS} connections as well"
    yield Figure(
        name="jobs.wall",
        title=f"{MODELS:,} Models pushed to {MODELS:,} Jobs",
        baseline=creates,
        unit="s",
        rounds=[(each.wall, each.raw_wall) for each in rounds],
        aim=1.2,
    )
    yield Figure(
        name="jobs.cpu",
        title="CPU of the daemon for them, to the status",
        baseline=creates,
        unit="s",
        rounds=[(each.cpu, each.raw_cpu) for each in rounds],
    )
    yield Figure(
        name="jobs.peak",
        title="memory of the daemon at the peak",
        baseline="the daemon with one Model",
        unit="MiB",
        rounds=[(each.peak, each.idle) for each in rounds],
        aim_value=110.0,
    )


def _round(folder: Path, cluster: Cluster, number: int) -> Round:
    namespace = Namespace(cluster, f"round-{number}")
    cluster.api.create("/api/v1/namespaces", {"metadata": {"name": namespace.name}})
    root = folder / namespace.name
    root.mkdir()
    forge = HttpRemote(root)
    site = ClusterSite(root, namespace)
    git(site.remote, "config", "http.receivepack", "true")
    (root / "secret").write_text("a secret")
    site.configure(
        repository={"url": forge.url("manifests.git"), "interval": "1h"},
        server={"address": f"127.0.0.1:{PORT}", "webhookSecretFile": "secret"},
        kubernetes={"lease": "60s"},
    )
    site.model("first", more="    queue: q\n")
    site.push()
    daemon = site.daemon()
    try:
        until(lambda: "first" in site.phases(), what="the daemon to be at work")
        before, idle = cpu_seconds(daemon.pid), peak_mebibytes(daemon.pid)
        ours = _push(site)
        until(lambda: len(_statuses(site)) > MODELS, what="every status")
        cpu, peak = cpu_seconds(daemon.pid) - before, peak_mebibytes(daemon.pid)
    finally:
        stop(daemon)
        forge.close()
    jobs = cluster.api.items(namespace.jobs)
    bodies = [_body(job) for job in jobs[:MODELS]]
    raw_cpu = time.process_time()
    raw = asyncio.run(create_raw(cluster, bodies))
    raw_cpu = time.process_time() - raw_cpu
    for place in (namespace.name, RAW):
        empty(cluster, place)
    return Round(ours, raw, cpu, raw_cpu, peak, idle)


def _push(site: ClusterSite) -> float:
    for number in range(MODELS):
        site.model(f"m{number}", more="    queue: q\n")
    site.push()
    start = time.perf_counter()
    body = b'{"ref": "refs/heads/main"}'
    if post(f"http://127.0.0.1:{PORT}/webhook", body, "a secret") != 202:
        raise SystemExit("the webhook was refused")
    while count_jobs(site.namespace.cluster, site.namespace.name) <= MODELS:
        time.sleep(0.005)
    return time.perf_counter() - start


def empty(cluster: Cluster, namespace: str) -> None:
    """Delete the Jobs of a namespace, and see them gone."""
    while count_jobs(cluster, namespace):
        with contextlib.suppress(TimeoutError):  # it has deleted some of them
            cluster.api.request("DELETE", f"/apis/batch/v1/namespaces/{namespace}/jobs")


def _statuses(site: ClusterSite) -> list[str]:
    listed = subprocess.run(
        ["git", "-C", str(site.remote), "ls-tree", "-r", "--name-only", "reconciler/status/local"],
        capture_output=True,
        text=True,
        check=False,
    )
    return [path for path in listed.stdout.split() if "/models/" in path]


def _body(job: Mapping[str, Any]) -> bytes:
    """A Job as it was sent, but for its namespace."""
    meta, template = job["metadata"], job["spec"]["template"]
    spec = {name: value for name, value in job["spec"].items() if name != "selector"}
    labels = {k: v for k, v in template["metadata"]["labels"].items() if "/job-name" not in k}
    labels = {k: v for k, v in labels.items() if k != "job-name" and "controller-uid" not in k}
    spec["template"] = {**template, "metadata": {**template["metadata"], "labels": labels}}
    kept = {name: meta[name] for name in ("name", "labels", "annotations")}
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": kept, "spec": spec}
    return json.dumps(body).encode()


async def create_raw(cluster: Cluster, bodies: list[bytes]) -> float:
    """Create Jobs in the namespace RAW; return the seconds."""
    url = f"{cluster.server}/apis/batch/v1/namespaces/{RAW}/jobs"
    connector = aiohttp.TCPConnector(limit=CONNECTIONS, ssl=cluster.api.context)
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def create(body: bytes) -> None:
            async with session.post(url, data=body) as answer:
                if answer.status != 201:
                    raise SystemExit(await answer.text())
                await answer.read()

        start = time.perf_counter()
        await asyncio.gather(*map(create, bodies))
        return time.perf_counter() - start
