"""One changed file among 10,000 Models beside one among 100, on a real API server.

Every other Model is Ready. A commit changes a param of one: its run is superseded, and another is
created. What counts is the daemon's CPU from the commit until it has nothing to do any more: its
own, and with it that of the git commands by which it fetches and pushes. The baseline among 100 is
a fetch of the commit and a push of a file by hand. Runs are suspended, as with a queue: what
controllers make of Jobs is not measured.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pygit2

from benchmarks.figures import Figure
from benchmarks.installation import finished, jobs, settle, until_synced
from benchmarks.process import children_cpu_seconds, cpu_seconds, own_cpu_seconds
from benchmarks.repository import AUTHOR, manifest, push_by_hand
from tests.cluster import lease
from tests.cluster.cluster import Cluster
from tests.e2e.site import git, stop, until

FEW, MANY, MOST = 100, 10_000, 100_000
ROUNDS = 5
#: In a round. The CPU clock ticks every 10 ms: they are counted together.
CHANGES = 6


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of CPU for each change: the daemon's own, with git's, and of git by hand."""

    own: float
    cpu: float
    raw: float


def measure(
    few: int = FEW, many: int = MANY, rounds: int = ROUNDS, changes: int = CHANGES
) -> Iterator[Figure]:
    """Yield the figures of CPU, of a few Models and of many."""
    among_few, among_many = _both(few, many, rounds, changes)
    yield Figure(
        name=f"change.{few}",
        title=f"one change among {few}: CPU with git's",
        baseline="a fetch and a push by hand",
        unit="s",
        rounds=[(each.cpu, each.raw) for each in among_few],
    )
    yield Figure(
        name=f"change.{few}.own",
        title=f"one change among {few}: CPU of its own",
        baseline="a fetch and a push by hand",
        unit="s",
        rounds=[(each.own, each.raw) for each in among_few],
    )
    yield _figure(few, many, among_few, among_many, aim=1.3)


def measure_most(few: int = FEW, most: int = MOST, rounds: int = ROUNDS) -> Iterator[Figure]:
    """Yield the figure of the most Models, which takes half an hour and 4 GiB."""
    yield _figure(few, most, *_both(few, most, rounds, CHANGES), aim=2.0)


def _figure(
    few: int, many: int, among_few: Sequence[Round], among_many: Sequence[Round], *, aim: float
) -> Figure:
    return Figure(
        name=f"change.{many}",
        title=f"one change among {many:,}: CPU of its own",
        baseline=f"one among {few}",
        unit="s",
        rounds=[(a.own, b.own) for a, b in zip(among_many, among_few, strict=True)],
        aim=aim,
        aim_value=0.05 if many <= MANY else None,
    )


def _both(few: int, many: int, rounds: int, changes: int) -> tuple[list[Round], list[Round]]:
    with tempfile.TemporaryDirectory() as name, lease.control_plane(Path(name, "c")) as cluster:
        found = [_measure(Path(name), cluster, count, rounds, changes) for count in (few, many)]
    return found[0], found[1]


def _measure(folder: Path, cluster: Cluster, count: int, rounds: int, changes: int) -> list[Round]:
    root = folder / str(count)
    site = finished(root, cluster, count)
    repository = root / "repository"
    git(root, "clone", "--quiet", "--bare", "--single-branch", str(repository), "clone.git")
    daemon = site.daemon()
    try:
        until_synced(site, daemon)
        settle(daemon.pid)  # it writes its own status of each
        _change(repository, 10)
        until(lambda: len(jobs(cluster)) == 1, what="the first Job")
        settle(daemon.pid)
        return [
            _round(daemon.pid, cluster, repository, range(first, first + changes))
            for first in range(11, 11 + rounds * changes, changes)
        ]
    finally:
        stop(daemon)
        cluster.api.request("DELETE", f"{site.namespace.jobs}?propagationPolicy=Background")
        until(lambda: not jobs(cluster), what="the Jobs to be gone")


def _round(pid: int, cluster: Cluster, repository: Path, epochs: range) -> Round:
    own, cpu, raw = own_cpu_seconds(pid), cpu_seconds(pid), 0.0
    for number in epochs:
        before = jobs(cluster).keys()
        _change(repository, number)
        until(lambda: jobs(cluster).keys() - before, what="the Job")  # noqa: B023
        settle(pid)
        raw += _by_hand(repository)
    return Round(
        own=(own_cpu_seconds(pid) - own) / len(epochs),
        cpu=(cpu_seconds(pid) - cpu) / len(epochs),
        raw=raw / len(epochs),
    )


def _by_hand(repository: Path) -> float:
    """Fetch what was committed, and push a commit of one file; return the CPU of it."""
    clone = repository.parent / "clone.git"
    before = children_cpu_seconds()
    git(clone, "fetch", "--quiet", "origin", "main")
    push_by_hand(clone, {"file": os.urandom(1024)})
    return children_cpu_seconds() - before


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
