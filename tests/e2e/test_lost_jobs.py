"""What is finished is not repeated, whatever becomes of the Jobs that finished it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cluster.api import eventually
from tests.cluster.cluster import Cluster
from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import ClusterSite, daemon, uid
from tests.e2e.site import until
from tests.engines.kubernetes.orders import running, terminated

END = {"done": "Ready", "failed": "Failed", "going": "Training"}


class Elsewhere(ClusterSite):
    """A daemon that lives in another namespace than its Jobs."""

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "POD_NAMESPACE": "default"}


@pytest.fixture
def site(tmp_path: Path, namespace: Namespace) -> ClusterSite:
    return Elsewhere(tmp_path, namespace)


def reach_the_end(site: ClusterSite) -> dict[str, Any]:
    """One that is done, one that failed and one that runs; their statuses."""
    for name in END:
        site.model(name)
    site.push()
    site.kubelets(done=terminated(0), failed=terminated(3), going=running())
    until(lambda: site.phases() == END, what="all three")
    return site.statuses()


def only_what_was_under_way_runs_again(site: ClusterSite, before: dict[str, Any]) -> None:
    again = site.job("going")
    site.kubelet(again, terminated(0))
    until(lambda: site.phases() == {**END, "going": "Ready"}, what="it to be Ready")
    site.push_model("fresh")
    site.job("fresh")
    assert site.jobs().keys() == {"going", "fresh"}
    after = site.statuses()
    for name in ("done", "failed"):
        assert after[name] == before[name]


def test_a_job_that_its_ttl_or_somebody_has_removed_is_not_missed(site: ClusterSite) -> None:
    with daemon(site):
        before = reach_the_end(site)
        jobs = site.jobs()
        path = f"{site.namespace.jobs}/{jobs['done']['metadata']['name']}"
        ttl = {"spec": {"ttlSecondsAfterFinished": 1}}
        site.namespace.cluster.api.request("PATCH", path, ttl)
        for name in ("failed", "going"):
            job = jobs[name]["metadata"]["name"]
            site.namespace.kubectl("delete", "job", job, "--wait=false")
        site.job("going", other_than=uid(jobs["going"]))
        until(lambda: site.jobs().keys() == {"going"}, what="the others to be gone")
        only_what_was_under_way_runs_again(site, before)


def test_a_namespace_that_is_deleted_and_made_again_repeats_nothing_finished(
    site: ClusterSite,
) -> None:
    api, name = site.namespace.cluster.api, site.namespace.name
    with daemon(site):
        before = reach_the_end(site)
        api.delete(f"/api/v1/namespaces/{name}")
        eventually(lambda: api.find(f"/api/v1/namespaces/{name}") is None or None, "it to be gone")
        api.create("/api/v1/namespaces", {"metadata": {"name": name}})
        only_what_was_under_way_runs_again(site, before)


def test_a_cluster_that_is_rebuilt_from_nothing_repeats_nothing_finished(
    tmp_path: Path, own_control_plane: Cluster, namespace: Namespace
) -> None:
    first = Namespace(own_control_plane, namespace.name)
    own_control_plane.api.create("/api/v1/namespaces", {"metadata": {"name": first.name}})
    site = Elsewhere(tmp_path, first)
    with daemon(site):
        before = reach_the_end(site)
    site.namespace = namespace  # of the same name, in a cluster that has never seen a Job of ours
    assert not site.jobs()
    with daemon(site, "again"):
        only_what_was_under_way_runs_again(site, before)


def test_runs_wait_for_an_inventory_and_do_without_one_that_fails(site: ClusterSite) -> None:
    site.configure(buckets={"default": {"url": "file:///srv/models", "inventory": True}})
    site.push_model("a")
    with daemon(site):
        looking = site.job("")  # it is of no object
        assert looking["metadata"]["labels"]["substratus.ai/task"] == "inventory"
        assert site.jobs().keys() == {""}, "nothing is created before it has ended"
        site.kubelet(looking, terminated(1, message="no such bucket"))
        site.job("a")
        until(lambda: site.jobs().keys() == {"a"}, what="the inventory to be cleared away")
        assert "a bucket could not be looked into" in site.log_of()
        assert "lacks others" not in site.log_of(), "it is known for what it is"
