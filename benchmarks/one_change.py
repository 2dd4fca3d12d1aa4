"""One changed file among 10,000 Models beside one among 100, on a real API server.

Every other Model is Ready. A commit changes a param of one: its run is superseded, and another is
created. What counts is the daemon's CPU from the commit until it has nothing to do any more: its
own, and with it that of the git commands by which it fetches and pushes. The baseline among 100 is
a fetch of the commit and a push of a file by hand. Runs are suspended, as with a queue: what
controllers make of Jobs is not measured.
"""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pygit2

from benchmarks.figures import Figure
from benchmarks.process import cpu_seconds, own_cpu_seconds
from benchmarks.repository import AUTHOR, BUCKET, make, manifest
from tests.cluster import lease
from tests.cluster.cluster import Cluster
from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import ClusterSite
from tests.e2e.site import git, stop, until

FEW, MANY = 100, 10_000
ROUNDS = 5
#: In a round. The CPU clock ticks every 10 ms: they are counted together.
CHANGES = 6
IDLE = 1.0


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of CPU for each change: the daemon's own, with git's, and of git by hand."""

    own: float
    cpu: float
    raw: float


def measure() -> Iterator[Figure]:
    """Yield the figures of CPU."""
    with tempfile.TemporaryDirectory() as name, lease.control_plane(Path(name, "c")) as cluster:
        few, many = (_measure(Path(name), cluster, count) for count in (FEW, MANY))
    yield Figure(
        name=f"change.{FEW}",
        title=f"one change among {FEW}: CPU with git's",
        baseline="a fetch and a push by hand",
        unit="s",
        rounds=[(each.cpu, each.raw) for each in few],
    )
    yield Figure(
        name=f"change.{FEW}.own",
        title=f"one change among {FEW}: CPU of its own",
        baseline="a fetch and a push by hand",
        unit="s",
        rounds=[(each.own, each.raw) for each in few],
    )
    yield Figure(
        name=f"change.{MANY}",
        title=f"one change among {MANY:,}: CPU of its own",
        baseline=f"one among {FEW}",
        unit="s",
        rounds=[(a.own, b.own) for a, b in zip(many, few, strict=True)],
        aim=1.3,
        aim_value=0.05,
    )


def _measure(folder: Path, cluster: Cluster, count: int) -> list[Round]:
    root = folder / str(count)
    repository = root / "repository"
    repository.mkdir(parents=True)
    make(repository, count)
    _revert(repository)
    git(root, "clone", "--quiet", "--bare", "--single-branch", str(repository), "clone.git")
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
        return [
            _round(daemon.pid, cluster, repository, 11 + CHANGES * number)
            for number in range(ROUNDS)
        ]
    finally:
        stop(daemon)
        cluster.api.request("DELETE", f"{namespace.jobs}?propagationPolicy=Background")
        until(lambda: not _jobs(cluster), what="the Jobs to be gone")


def _round(pid: int, cluster: Cluster, repository: Path, epochs: int) -> Round:
    own, cpu, raw = own_cpu_seconds(pid), cpu_seconds(pid), 0.0
    for number in range(CHANGES):
        before = _jobs(cluster).keys()
        _change(repository, epochs + number)
        until(lambda: _jobs(cluster).keys() - before, what="the Job")  # noqa: B023
        _quiet(pid)
        raw += _by_hand(repository)
    return Round(
        own=(own_cpu_seconds(pid) - own) / CHANGES,
        cpu=(cpu_seconds(pid) - cpu) / CHANGES,
        raw=raw / CHANGES,
    )


def _by_hand(repository: Path) -> float:
    """Fetch what was committed, and push a commit of one file; return the CPU of it."""
    clone = repository.parent / "clone.git"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    git(clone, "fetch", "--quiet", "origin", "main")
    held = pygit2.Repository(str(clone))
    tree = held.TreeBuilder()
    tree.insert("file", held.create_blob(os.urandom(1024)), pygit2.GIT_FILEMODE_BLOB)
    made = held.create_commit(None, AUTHOR, AUTHOR, "By hand", tree.write(), [])
    git(clone, "push", "--quiet", "--force", "origin", f"{made}:refs/heads/by-hand")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


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
