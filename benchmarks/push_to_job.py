"""The way of a push to its Job: webhook, fetch, plan, Job, on a real API server.

The baseline does what cannot be left out, by hand: it fetches what was pushed with git, and creates
a Job with one request. Both begin when the push has been accepted and end when the API server has
the Job.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.figures import Figure
from tests.cluster import lease
from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import ClusterSite
from tests.e2e.site import git, stop, until
from tests.e2e.test_operation import post
from tests.engines.kubernetes.orders import bare_job, order
from tests.git.remotes import HttpRemote

#: Of a 95th percentile, and how many of those there are.
PUSHES, ROUNDS = 20, 5
PORT = 18089


def measure(pushes: int = PUSHES, rounds: int = ROUNDS) -> Iterator[Figure]:
    """Yield the figures of each push, and of the 95th percentiles of some."""
    with tempfile.TemporaryDirectory() as name, lease.control_plane(Path(name, "c")) as cluster:
        namespace = Namespace(cluster, "default")
        folder = Path(name, "site")
        folder.mkdir()
        forge = HttpRemote(folder)
        site = ClusterSite(folder, namespace)
        git(site.remote, "config", "http.receivepack", "true")
        (folder / "secret").write_text("a secret")
        site.configure(
            repository={"url": forge.url("manifests.git"), "interval": "1h"},
            server={"address": f"127.0.0.1:{PORT}", "webhookSecretFile": "secret"},
        )
        site.model("m0")
        site.push()
        daemon = site.daemon()
        try:
            until(lambda: "m0" in site.jobs(), what="the daemon to be at work")
            pairs = [
                (_pushed(site, number), _by_hand(site, forge, number))
                for number in range(1, 1 + pushes * rounds)
            ]
        finally:
            stop(daemon)
            forge.close()
    yield Figure(
        name="push",
        title="push to its Job, by webhook",
        baseline="a fetch and a create by hand",
        unit="s",
        rounds=pairs,
        aim_value=0.1,
    )
    groups = [pairs[begin : begin + pushes] for begin in range(0, len(pairs), pushes)]
    yield Figure(
        name="push.p95",
        title="the same, 95th percentile",
        baseline=f"that of a fetch and a create, of {pushes} each",
        unit="s",
        rounds=[(_p95([a for a, _ in group]), _p95([b for _, b in group])) for group in groups],
        aim_value=0.2,
    )


def _p95(times: Sequence[float]) -> float:
    return statistics.quantiles(times, n=20, method="inclusive")[-1]


def _pushed(site: ClusterSite, number: int) -> float:
    site.model(f"m{number}")
    site.push()
    start = time.perf_counter()
    body = b'{"ref": "refs/heads/main"}'
    if post(f"http://127.0.0.1:{PORT}/webhook", body, "a secret") != 202:
        raise SystemExit("the webhook was refused")
    jobs = f"{site.namespace.jobs}?labelSelector=substratus.ai/name=m{number}"
    while not site.namespace.cluster.api.items(jobs):
        time.sleep(0.002)
    return time.perf_counter() - start


def _by_hand(site: ClusterSite, forge: HttpRemote, number: int) -> float:
    site.push()
    (job,) = bare_job(order("default", f"raw{number}"))
    clone = site.root / "clone.git"
    start = time.perf_counter()
    command = ["git", "clone", "--quiet", "--bare", forge.url("manifests.git"), str(clone)]
    if clone.exists():
        command = ["git", "-C", str(clone), "fetch", "--quiet", "origin", "main"]
    subprocess.run(command, check=True)
    site.namespace.cluster.api.create(site.namespace.jobs, job)
    return time.perf_counter() - start
