"""A start with 10,000 finished Models, on a real API server.

Everything is recorded, and nothing is to be done: no Job is created, and no status is written. What
counts is the daemon's CPU until it has nothing to do any more, and its memory at the peak. The
baseline is an interpreter that reads and parses the same manifests and statuses, and keeps them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.commands import PARSE_BLOBS
from benchmarks.figures import Figure
from benchmarks.installation import finished, jobs, settle, until_synced
from benchmarks.process import cpu_seconds, peak_mebibytes, run_measured
from tests.cluster import lease
from tests.e2e.cluster_site import ClusterSite
from tests.e2e.site import git, stop

MODELS = 10_000
ROUNDS = 5
PARSE_AND_KEEP = "kept = []\n" + PARSE_BLOBS.replace(
    'YAML(typ="safe").load(entry.data)', 'kept.append(YAML(typ="safe").load(entry.data))'
)


@dataclass(frozen=True, slots=True)
class Use:
    """Seconds of CPU, and MiB at the peak."""

    cpu: float
    peak: float


def measure(models: int = MODELS, rounds: int = ROUNDS) -> Iterator[Figure]:
    """Yield the figures of CPU and memory."""
    with tempfile.TemporaryDirectory() as name, lease.control_plane(Path(name, "c")) as cluster:
        folder = Path(name, "site")
        site = finished(folder, cluster, models)
        _start(site)  # writes its own status of each
        pairs = [(_again(site), _by_hand(folder / "repository")) for _ in range(rounds)]
    yield Figure(
        name="finished.cpu",
        title=f"start with {models:,} finished Models, CPU",
        baseline="parsing manifests and statuses",
        unit="s",
        rounds=[(ours.cpu, raw.cpu) for ours, raw in pairs],
        aim_value=6.0,
    )
    yield Figure(
        name="finished.peak",
        title=f"start with {models:,} finished Models, memory",
        baseline="keeping them parsed",
        unit="MiB",
        rounds=[(ours.peak, raw.peak) for ours, raw in pairs],
        aim_value=250.0,
    )


def _again(site: ClusterSite) -> Use:
    """Start where nothing is to be done; SystemExit if anything is."""
    status = _status(site)
    used = _start(site)
    if made := jobs(site.namespace.cluster):
        raise SystemExit(f"the API server has {len(made)} Jobs, and none is wanted")
    if _status(site) != status:
        raise SystemExit("a status was pushed, and none had changed")
    return used


def _start(site: ClusterSite) -> Use:
    daemon = site.daemon()
    try:
        until_synced(site, daemon)
        settle(daemon.pid)
        return Use(cpu_seconds(daemon.pid), peak_mebibytes(daemon.pid))
    finally:
        stop(daemon)


def _status(site: ClusterSite) -> str:
    return git(site.root / "repository", "rev-parse", site.branch)


def _by_hand(repository: Path) -> Use:
    return Use(*run_measured([sys.executable, "-c", PARSE_AND_KEEP, "."], repository))
