"""The times at which a Job is there and complete, by this machine's clock."""

from __future__ import annotations

import json
import time
from collections.abc import Set as AbstractSet
from typing import Any

from tests.cluster.cluster import Cluster
from tests.patience import PATIENCE

#: Seconds between two looks.
LOOK = 0.02
LONGEST = 4 * PATIENCE


def uids(cluster: Cluster, path: str) -> frozenset[str]:
    """The UIDs of the Jobs that a path lists."""
    return frozenset(job["metadata"]["uid"] for job in cluster.api.items(path))


def await_job(cluster: Cluster, path: str, known: AbstractSet[str]) -> tuple[float, float]:
    """Wait for a Job that a path lists and that is not known; return when it came and ended well.

    SystemExit where it fails.
    """
    came: float | None = None
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        for job in cluster.api.items(path):
            if job["metadata"]["uid"] in known:
                continue
            came = came or time.time()
            conditions: list[Any] = job["status"].get("conditions", [])
            types = {each["type"] for each in conditions if each["status"] == "True"}
            if "Failed" in types:
                raise SystemExit(json.dumps(job["status"]))
            if "Complete" in types:
                return came, time.time()
        time.sleep(LOOK)
    raise SystemExit(f"waited {LONGEST:g} s for a Job of {path}")
