"""An API server on its bad days: the end is as on any other, and it is not asked without end.

The same story is told each time: Models that succeed, fail, run on, are changed and are removed.
Each test prints what was asked of the server, and how much of that failed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.api import eventually
from tests.cluster.faults import Proxy, half, proxy
from tests.cluster.fixtures import Namespace
from tests.e2e import cluster_site
from tests.e2e.cluster_site import ClusterSite, uid
from tests.e2e.site import until
from tests.engines.kubernetes.orders import running, terminated

SEED = 20261124


@contextmanager
def daemon(site: ClusterSite, through: Proxy) -> Iterator[None]:
    with cluster_site.daemon(site, kubeconfig=through.kubeconfig(site.root / "proxy.kubeconfig")):
        yield
    print("asked:", dict(through.asked), "failed:", dict(through.failed))  # noqa: T201 -- asked for


@pytest.fixture
def site(tmp_path: Path, namespace: Namespace) -> ClusterSite:
    return ClusterSite(tmp_path, namespace)


NAMES = ("done", "failed", "going", "changed", "removed")
END = {"done": "Ready", "failed": "Failed", "going": "Training", "changed": "Pending"}


def begin(site: ClusterSite) -> dict[str, str]:
    """The first half of the story, up to the runs; their UIDs by Model."""
    for name in NAMES:
        site.model(name)
    site.push()
    return {name: uid(site.job(name)) for name in NAMES}


def changed(site: ClusterSite, before: dict[str, str]) -> bool:
    job = site.jobs().get("changed")
    return job is not None and uid(job) != before["changed"]


def ends_well(site: ClusterSite, before: dict[str, str]) -> None:
    """The second half, and how it must end."""
    site.kubelets(done=terminated(0), failed=terminated(3), going=running())
    site.model("changed", params={"epochs": 1})
    site.remove("removed.yaml")
    site.push()
    # Its pods must be seen to be gone, by a watch that pauses for up to 40 s between two tries.
    until(lambda: changed(site, before), what="another Job of changed")
    until(lambda: {**site.phases(), "changed": "Pending"} == END, what="the end")
    until(lambda: site.jobs().keys() == END.keys(), what="the removed one's Job to go")
    kept = {name: uid(job) for name, job in site.jobs().items() if name != "changed"}
    assert kept == {name: before[name] for name in kept}, "no other Job was touched"


def test_a_watch_that_is_cut_every_second_is_taken_up_where_it_was_cut(site: ClusterSite) -> None:
    with proxy(site.namespace.cluster, cut=1.0) as through, daemon(site, through):
        before = begin(site)
        cuts = through.asked["WATCH pods"]
        until(lambda: through.asked["WATCH pods"] >= cuts + 10, what="ten cuts")
        ends_well(site, before)
        assert through.asked["GET jobs"] <= 2, "one look whether it may, and one list"
        assert through.asked["GET pods"] <= 4, "and for pods that ended while nobody watched"
        assert through.asked["POST jobs"] == len(NAMES) + 1


@pytest.mark.timeout(600)
def test_half_of_all_requests_refused_cost_time_and_nothing_else(site: ClusterSite) -> None:
    with (
        proxy(site.namespace.cluster, fault=half(SEED), cut=1.0) as through,
        daemon(site, through),
    ):
        ends_well(site, begin(site))
        needed = len(NAMES) + 1
        # Of n requests half are refused; a few more for what chance has in store.
        assert through.asked["POST jobs"] <= 4 * needed
        assert through.asked["GET jobs"] <= 20


def test_an_api_server_that_is_stopped_for_a_minute_is_asked_with_patience(
    own_site: ClusterSite,
) -> None:
    site, cluster = own_site, own_site.namespace.cluster
    with proxy(cluster) as through, daemon(site, through):
        before = begin(site)
        cluster.stop("apiserver")
        asked, stopped = through.asked.copy(), time.monotonic()
        site.push_model("late")
        until(lambda: time.monotonic() > stopped + 60, what="a minute to pass")
        meanwhile = through.asked - asked
        print("asked in that minute:", dict(meanwhile))  # noqa: T201 -- asked for
        assert meanwhile.total() <= 200
        cluster.start("apiserver")
        eventually(lambda: cluster.api.answers() or None, "the server to be back")
        site.job("late")
        site.remove("late.yaml")
        ends_well(site, before)


def test_an_etcd_that_is_killed_and_comes_back_is_lived_through(own_site: ClusterSite) -> None:
    site, cluster = own_site, own_site.namespace.cluster
    with proxy(cluster) as through, daemon(site, through):
        before = begin(site)
        cluster.kill("etcd")
        site.push_model("late")
        until(lambda: through.failed.total() or not cluster.api.answers(), what="it to be felt")
        cluster.start("etcd")
        eventually(lambda: cluster.api.answers() or None, "the server to be back")
        site.job("late")
        site.remove("late.yaml")
        ends_well(site, before)
