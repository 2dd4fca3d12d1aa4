"""An installation at work on any number of finished Models, on a real API server."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks.process import cpu_seconds
from benchmarks.repository import BUCKET, make
from tests.cluster.cluster import Cluster
from tests.cluster.fixtures import Namespace
from tests.cluster.ports import free
from tests.e2e.cluster_site import ClusterSite
from tests.e2e.site import until
from tests.e2e.test_operation import get

#: Seconds between two looks at its metrics.
LOOK = 0.5
#: Seconds for a start with many Models on a busy machine.
LONG = 900.0
#: Seconds, in which a daemon that uses 10 ms of CPU at most has nothing to do.
IDLE = 1.0


def finished(folder: Path, cluster: Cluster, count: int, **sections: Any) -> ClusterSite:
    """Make a repository whose Models are all Ready, and configure a daemon for it.

    The repository is ``folder/repository``; ``sections`` are of the configuration.
    """
    repository = folder / "repository"
    repository.mkdir(parents=True)
    make(repository, count)
    # What is recorded is of the first of its two commits: begin with that.
    command = ["git", "-C", str(repository), "reset", "--quiet", "--hard", "HEAD~1"]
    subprocess.run(command, check=True)
    site = ClusterSite(folder, Namespace(cluster, "default"))
    known: dict[str, Any] = {
        "repository": {"url": str(repository), "interval": "1h"},
        "buckets": {"default": {"url": BUCKET}},
        "kubernetes": {"instance": f"of-{count}", "lease": "60s", "gpus": {"nvidia-l4": {}}},
        "registry": {"url": "registry"},
        "server": {"address": f"127.0.0.1:{free(1)[0]}"},
    }
    site.configure(
        **{
            name: {**known.get(name, {}), **sections.get(name, {})}
            for name in known.keys() | sections.keys()
        }
    )
    return site


def address(site: ClusterSite) -> str:
    """The URL of the daemon's HTTP server."""
    config = json.loads((site.root / "reconciler.yaml").read_text())
    return f"http://{config['server']['address']}"


def metric(site: ClusterSite, name: str) -> float:
    """A metric without labels that the daemon serves; 0 while it does not listen yet."""
    try:
        text = get(f"{address(site)}/metrics")
    except OSError:
        return 0.0
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def until_synced(site: ClusterSite, daemon: subprocess.Popen[str]) -> None:
    """Wait for the end of the first sync, of a replica that leads."""

    def synced() -> bool:
        time.sleep(LOOK)  # an answer costs the daemon some milliseconds
        if daemon.poll() is not None:
            raise SystemExit(f"the daemon has ended: {site.log_of()[-2000:]}")
        return metric(site, "reconciler_sync_duration_seconds_count") > 0

    until(synced, what="the first sync", patience=LONG)


def jobs(cluster: Cluster) -> dict[str, object]:
    """The Jobs that the API server has, by their UID."""
    found = cluster.api.items("/apis/batch/v1/namespaces/default/jobs")
    return {job["metadata"]["uid"]: job for job in found}


def count_jobs(cluster: Cluster, namespace: str) -> int:
    """How many Jobs there are, without their being read."""
    page = cluster.api.get(f"/apis/batch/v1/namespaces/{namespace}/jobs?limit=1")
    return len(page["items"]) + int(page["metadata"].get("remainingItemCount", 0))


def settle(pid: int, *, patience: float = LONG) -> None:
    """Wait until a daemon has used nearly no CPU for a while."""

    def rests() -> bool:
        before = cpu_seconds(pid)
        time.sleep(IDLE)
        return cpu_seconds(pid) - before <= 0.01

    until(rests, what="the daemon to rest", patience=patience)
