"""One changed file among 10,000 Models costs what it costs among 100, on a real API server.

Every other Model is Ready. A commit changes a param of one: its run is superseded, and another is
created. What is told is the daemon's CPU from the commit until it has nothing to do any more, per
change: its own, and with it that of the git commands by which it fetches and pushes. Runs are
suspended, as with a queue: what controllers make of Jobs is not measured.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pygit2

from benchmarks.process import cpu_seconds, own_cpu_seconds, peak_mebibytes
from benchmarks.repository import AUTHOR, BUCKET, make, manifest
from tests.cluster import lease
from tests.cluster.cluster import Cluster
from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import ClusterSite
from tests.e2e.site import stop, until

COUNTS = (100, 10_000)
CHANGES = 10
#: The CPU clock ticks every 10 ms: changes are counted together.
IDLE = 1.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one change, in seconds: CPU of the daemon alone, with its commands, and until the Job."""

    own: float
    cpu: float
    wall: float
    peak: float


def main() -> None:
    """Print a row per size, and the ratios."""
    with tempfile.TemporaryDirectory() as name, lease.control_plane(Path(name, "c")) as cluster:
        found = [_measure(Path(name), cluster, count) for count in COUNTS]
    print(f"{'one change among':>18}{'CPU':>10}{'with git':>10}{'to its Job':>12}{'peak':>10}")
    for count, cost in zip(COUNTS, found, strict=True):
        print(
            f"{count:>18}{cost.own * 1000:>7.0f} ms{cost.cpu * 1000:>7.0f} ms"
            f"{cost.wall * 1000:>9.0f} ms{cost.peak:>6.0f} MiB"
        )
    few, many = found
    print(f"{'ratio':>18}{many.own / few.own:>10.2f}{many.cpu / few.cpu:>10.2f}   aim: 1.5, 50 ms")


def _measure(folder: Path, cluster: Cluster, count: int) -> Cost:
    root = folder / str(count)
    repository = root / "repository"
    repository.mkdir(parents=True)
    make(repository, count)
    _revert(repository)
    namespace = Namespace(cluster, "default")
    site = ClusterSite(root, namespace)
    site.configure(
        repository={"url": str(repository), "interval": "1h"},
        buckets={"default": {"url": BUCKET}},
        kubernetes={"instance": f"of-{count}", "lease": "60s", "gpus": {"nvidia-l4": {}}},
        registry={"url": "registry"},
    )
    daemon = site.daemon()
    try:
        until(lambda: "status pushed" in site.log_of(), what="the first sync")
        _change(repository, 10)
        until(lambda: len(_jobs(cluster)) == 1, what="the first Job")
        _quiet(daemon.pid)
        own, cpu, walls = own_cpu_seconds(daemon.pid), cpu_seconds(daemon.pid), []
        for number in range(CHANGES):
            before = _jobs(cluster)
            start = time.perf_counter()
            _change(repository, 11 + number)
            until(lambda: _jobs(cluster).keys() - before.keys(), what="the Job")  # noqa: B023
            walls.append(time.perf_counter() - start)
            _quiet(daemon.pid)
        return Cost(
            own=(own_cpu_seconds(daemon.pid) - own) / CHANGES,
            cpu=(cpu_seconds(daemon.pid) - cpu) / CHANGES,
            wall=statistics.median(walls),
            peak=peak_mebibytes(daemon.pid),
        )
    finally:
        stop(daemon)
        cluster.api.request("DELETE", f"{namespace.jobs}?propagationPolicy=Background")
        until(lambda: not _jobs(cluster), what="the Jobs to be gone")


def _jobs(cluster: Cluster) -> dict[str, object]:
    jobs = cluster.api.items("/apis/batch/v1/namespaces/default/jobs")
    return {job["metadata"]["uid"]: job for job in jobs}


def _quiet(pid: int) -> None:
    """Wait until it has used nearly no CPU for a while."""
    while True:
        before = cpu_seconds(pid)
        time.sleep(IDLE)
        if cpu_seconds(pid) - before <= 0.01:
            return


def _revert(folder: Path) -> None:
    """What is recorded is of the first of two commits: begin with that."""
    subprocess.run(["git", "-C", str(folder), "reset", "--quiet", "--hard", "HEAD~1"], check=True)


def _change(folder: Path, epochs: int) -> None:
    """Commit another param of one Model, without reading the others."""
    repository = pygit2.Repository(str(folder))
    head = repository.head.peel(pygit2.Commit)
    folder_then = head.tree["models"]
    assert isinstance(folder_then, pygit2.Tree)
    text = manifest(1, epochs=epochs).replace("timeout: 6h", "timeout: 6h\n    queue: q")
    models = repository.TreeBuilder(folder_then)
    models.insert("1.yaml", repository.create_blob(text.encode()), pygit2.GIT_FILEMODE_BLOB)
    root = repository.TreeBuilder(head.tree)
    root.insert("models", models.write(), pygit2.GIT_FILEMODE_TREE)
    repository.create_commit("HEAD", AUTHOR, AUTHOR, "One of them", root.write(), [head.id])


if __name__ == "__main__":
    main()
