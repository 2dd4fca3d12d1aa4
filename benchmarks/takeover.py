"""How long after a leader's last renewal a stand-by leads, killed or frozen, on a real API server.

The baseline is the lease's duration: until then the last leader may still write. What is allowed
beyond it is one pause between two looks of a stand-by, a fifth of the duration.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from reconciler.engines.kubernetes.leader_election import RENEWALS
from tests.cluster import lease
from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import ClusterSite
from tests.e2e.test_takeover import LEASE, replicas

STRIKES = 10


def main() -> None:
    """Print the ratios, and the aim."""
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
    print(f"take-over after the last renewal, {STRIKES} times, of a lease of {LEASE} s")
    for told, value in (("median", statistics.median(taken)), ("longest", max(taken))):
        print(f"{told:>18}{value:>8.2f} s{value / LEASE:>8.2f}   aim: {1 + 1 / RENEWALS:g}")


if __name__ == "__main__":
    main()
