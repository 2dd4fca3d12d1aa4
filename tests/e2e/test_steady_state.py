"""With nothing to do, next to nothing is asked of the API server."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

from reconciler.engines.kubernetes.client import USER_AGENT
from tests.cluster import audit
from tests.cluster.cluster import Cluster
from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import ClusterSite
from tests.e2e.site import stop, until
from tests.engines.kubernetes.orders import running, terminated

#: What is waited for, to call it a while.
RENEWALS = 20


def test_a_daemon_with_nothing_to_do_only_watches_and_renews_its_lease(
    tmp_path: Path, own_control_plane: Cluster
) -> None:
    cluster = own_control_plane
    site = ClusterSite(tmp_path, Namespace(cluster, "default"))
    for name in ("done", "failed", "going"):
        site.model(name)
    site.push()
    daemon = site.daemon()
    try:
        site.kubelets(done=terminated(0), failed=terminated(3), going=running())
        wanted = {"done": "Ready", "failed": "Failed", "going": "Training"}
        until(lambda: site.phases() == wanted, what="everything to be as it stays")
        for_a_while(cluster, renewals=3)  # for what follows the last push to be done
        found = for_a_while(cluster, renewals=RENEWALS)
        print("in a while:", dict(found))  # noqa: T201 -- asked for
        assert found.keys() == {"update leases"}, "its watches are open, and go on"
    finally:
        assert stop(daemon) == 0
        stop(daemon, signal.SIGKILL)
    every = since(cluster, 0)
    print("in all:", dict(every))  # noqa: T201 -- asked for
    assert every["list jobs"] <= 2, "one look whether it may, and one list"
    assert every["list pods"] <= 2
    assert every["create jobs"] == 3


def for_a_while(cluster: Cluster, *, renewals: int) -> Counter[str]:
    """What the daemon asks for while it renews its lease so many times."""
    begun = len(audit.lines(cluster))
    until(lambda: since(cluster, begun)["update leases"] >= renewals, what="a while to pass")
    return since(cluster, begun)


def since(cluster: Cluster, line: int) -> Counter[str]:
    return Counter(a.what for a in audit.asked(cluster, agent=USER_AGENT, since=line))
