"""The take-over from a leader that is killed or frozen, on a real API server.

It is measured from the leader's last renewal. The baseline is the lease's duration: until then the
last leader may still write.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure
from tests.cluster import lease
from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import ClusterSite
from tests.e2e.test_takeover import LEASE, replicas

STRIKES = 6


def measure() -> Iterator[Figure]:
    """Yield the figure."""
    with tempfile.TemporaryDirectory() as name, lease.control_plane(Path(name, "c")) as cluster:
        folder = Path(name, "site")
        folder.mkdir()
        site = ClusterSite(folder, Namespace(cluster, "default"))
        site.configure(kubernetes={"lease": f"{LEASE}s"})
        site.model("m")
        site.push()
        taken = []
        with replicas(site) as both:
            for number in range(STRIKES):
                both.settle()
                taken.append(both.strike(freeze=number % 2 == 0).total_seconds())
    yield Figure(
        name="takeover",
        title="take-over after the last renewal",
        baseline="the duration of the lease",
        unit="s",
        rounds=[(seconds, float(LEASE)) for seconds in taken],
        aim=1.1,
    )
