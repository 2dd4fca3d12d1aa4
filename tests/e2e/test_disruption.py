"""A run whose pods are disrupted is tried again, counted, and has an end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import ClusterSite, daemon, uid
from tests.e2e.site import git, until
from tests.engines.kubernetes.orders import running

EVICTED = {
    "phase": "Failed",
    "conditions": [
        {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
        }
    ],
}


@pytest.fixture
def site(tmp_path: Path, namespace: Namespace) -> ClusterSite:
    site = ClusterSite(tmp_path, namespace)
    site.push_model("a", more="    retries: 3\n")
    return site


def evict(site: ClusterSite, *, other_than: str = "") -> str:
    """What becomes of the object's next pod; the UID of its Job. The pod is soon gone."""
    job = site.job("a", other_than=other_than)
    site.kubelet(job, running())
    until(lambda: site.phases().get("a") == "Training", what="it to train")
    api, path = site.namespace.cluster.api, site.namespace.pods
    (name,) = [
        pod["metadata"]["name"]
        for pod in api.items(path)
        if pod["status"].get("phase") == "Running"
    ]
    site.kubelet(job, EVICTED)
    api.delete(f"{path}/{name}")
    until(lambda: api.find(f"{path}/{name}") is None, what="the pod to be gone")
    return uid(job)


def failures(site: ClusterSite) -> int:
    (task,) = site.statuses()["a"]["tasks"]
    return int(task.get("failures", 0))


def test_a_disruption_is_counted_once_and_over_a_restart(site: ClusterSite) -> None:
    with daemon(site):
        first = evict(site)
        until(lambda: failures(site) == 1, what="it to be counted")
        status = site.statuses()["a"]
        assert status["phase"] == "Waiting"
        assert "its pod was disrupted" in status["message"]
    with daemon(site, "again"):
        second = evict(site, other_than=first)
        until(lambda: failures(site) == 2, what="it to be counted")
    assert first != second
    assert site.phases()["a"] == "Waiting"


def test_a_run_that_is_disrupted_for_ever_ends(site: ClusterSite) -> None:
    with daemon(site):
        evict(site)
        until(lambda: failures(site) == 1, what="it to be counted")
    # It was so ten times, the last one long ago: the delays in between are not waited for.
    api, jobs = site.namespace.cluster.api, site.namespace.jobs
    for job in api.items(jobs):
        api.delete(f"{jobs}/{job['metadata']['name']}")
    until(lambda: not api.items(jobs), what="the Job to be gone")
    file = f"{site.namespace.name}/models/a.yaml"
    git(site.work, "fetch", "--quiet", "origin", site.branch)
    git(site.work, "checkout", "--quiet", "-B", "status", "FETCH_HEAD")
    (task,) = site.statuses()["a"]["tasks"]
    site.edit(file, "failures: 1", "failures: 10")
    site.edit(file, task["finished"], "2026-01-01T00:00:00Z")
    git(site.work, "commit", "--quiet", "--all", "--message", "Ten times")
    git(site.work, "push", "--quiet", "origin", f"status:{site.branch}")
    git(site.work, "checkout", "--quiet", "main")

    with daemon(site, "again"):
        evict(site)
        until(lambda: site.phases()["a"] == "Failed", what="its end")
        assert "its pod was disrupted" in site.statuses()["a"]["message"]
        before = uid(site.job("a"))
        site.push_model("b")
        site.job("b")
        assert uid(site.job("a")) == before, "it is not tried again"
