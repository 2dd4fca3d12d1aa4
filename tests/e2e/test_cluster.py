"""What a Job does on a cluster, and what general GitOps tools make of it, is no drift here."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.cluster.api import eventually
from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import ClusterSite, daemon, uid
from tests.e2e.site import stop, until
from tests.engines.kubernetes.orders import running, terminated

DOCS = Path(__file__).parents[2] / "docs"
OUT_OF_LUCK = terminated(3, message="out of luck")


@pytest.fixture
def site(tmp_path: Path, namespace: Namespace) -> ClusterSite:
    return ClusterSite(tmp_path, namespace)


def phase(site: ClusterSite, name: str) -> str | None:
    return site.phases().get(name)


def made(site: ClusterSite, name: str) -> str:
    """Carry the object's Job through; returns its UID."""
    job = site.job(name)
    site.kubelet(job, terminated(0))
    until(lambda: phase(site, name) == "Ready", what=f"{name} to be Ready")
    return uid(job)


def test_a_push_becomes_a_job_and_its_end_a_status(site: ClusterSite) -> None:
    site.push_model("a", params={"epochs": 3})
    with daemon(site):
        job = site.job("a")
        labels = job["metadata"]["labels"]
        assert labels["app.kubernetes.io/managed-by"] == "reconciler"
        assert labels["substratus.ai/task"] == "train"
        site.kubelet(job, running())
        until(lambda: phase(site, "a") == "Training", what="it to train")
        site.kubelet(job, terminated(0))
        until(lambda: phase(site, "a") == "Ready", what="it to be Ready")
    status = site.statuses()["a"]
    assert status["artifact"]["key"] == labels["substratus.ai/key"]
    assert status["artifact"]["url"].startswith("file:///srv/models/clusters/local/namespaces/")


def test_kubectl_shows_the_columns_that_the_docs_name(site: ClusterSite) -> None:
    typed = re.search(r"`kubectl (get jobs -L \S+)`", (DOCS / "coming-from.md").read_text())
    assert typed is not None
    site.push_model("a")
    with daemon(site):
        labels = site.job("a")["metadata"]["labels"]
        head, row = site.namespace.kubectl(*typed[1].split()).splitlines()
    assert head.split()[-4:] == ["KIND", "NAME", "TASK", "KEY"]
    key = labels["substratus.ai/key"]
    assert len(key) == 40
    assert row.split()[-4:] == ["Model", "a", "train", key]


def test_a_job_that_its_ttl_removed_is_not_missed(site: ClusterSite) -> None:
    site.push_model("a")
    with daemon(site):
        made(site, "a")
        job = site.job("a")["metadata"]["name"]
        site.namespace.cluster.api.delete(f"{site.namespace.jobs}/{job}")
        until(lambda: not site.jobs(), what="the Job to be gone")
        site.push_model("b")
        site.job("b")
        assert site.jobs().keys() == {"b"}, "what is complete is not run again"
    before = site.statuses()["a"]
    with daemon(site, "again"):
        until(lambda: "the cluster is watched" in site.log_of("again"), what="a restart")
        site.push_model("c")
        site.job("c")
        assert site.jobs().keys() == {"b", "c"}
    assert site.statuses()["a"] == before


def test_a_changed_param_replaces_the_job_once_its_pods_are_gone(site: ClusterSite) -> None:
    site.push_model("a", params={"epochs": 3})
    with daemon(site):
        old = site.job("a")
        site.kubelet(old, running())
        until(lambda: phase(site, "a") == "Training", what="it to train")
        site.push_model("a", params={"epochs": 4})
        new = site.job("a", other_than=uid(old))
        assert new["metadata"]["name"] != old["metadata"]["name"]


def test_a_changed_timeout_leaves_a_finished_job_alone(site: ClusterSite) -> None:
    site.push_model("a")
    with daemon(site):
        done = made(site, "a")
        site.model("a", more="    timeout: 1h\n")
        site.push_model("b")
        site.job("b")
        assert uid(site.jobs()["a"]) == done


def test_a_removed_manifest_takes_its_job(site: ClusterSite) -> None:
    site.model("a")
    site.push_model("b")
    with daemon(site):
        site.job("a")
        site.remove("a.yaml")
        site.push()
        until(lambda: site.jobs().keys() == {"b"}, what="the Job to go")
        until(lambda: phase(site, "a") is None, what="its status to go")


def test_a_failure_is_remembered_without_its_job(site: ClusterSite) -> None:
    site.push_model("a")
    with daemon(site):
        job = site.job("a")
        site.kubelet(job, OUT_OF_LUCK)
        until(lambda: phase(site, "a") == "Failed", what="it to have failed")
    assert "out of luck" in site.statuses()["a"]["message"]
    site.namespace.cluster.api.delete(f"{site.namespace.jobs}/{job['metadata']['name']}")
    with daemon(site, "again"):
        site.push_model("b")
        site.job("b")
        assert site.jobs().keys() == {"b"}
        site.edit("a.yaml", "{name: a}", '{name: a, annotations: {substratus.ai/retry: "1"}}')
        site.push()
        site.job("a")


def test_a_daemon_that_is_killed_and_started_again_makes_no_second_job(site: ClusterSite) -> None:
    for name in "abc":
        site.model(name)
    site.push()
    process = site.daemon()
    try:
        site.job("a")
    finally:
        stop(process, signal.SIGKILL)
    with daemon(site, "again"):
        for name in "abc":
            made(site, name)
    assert len(site.jobs()) == 3


def test_a_namespace_that_is_not_there_is_said_and_waited_for(site: ClusterSite) -> None:
    site.configure(kubernetes={"namespaces": []})
    late = f"{site.namespace.name}-late"
    site.model("a")
    site.edit("a.yaml", "{name: a}", f"{{name: a, namespace: {late}}}")
    site.push()
    with daemon(site):
        until(lambda: f"there is no namespace {late}" in site.told("a"), what="the reason")
        assert phase(site, "a") == "Waiting"


def test_an_api_server_that_is_away_harms_nothing(own_site: ClusterSite) -> None:
    site, cluster = own_site, own_site.namespace.cluster
    site.push_model("a")
    with daemon(site):
        done = made(site, "a")
        cluster.stop("apiserver")
        site.push_model("b")
        until(lambda: "reached" in site.log_of(), what="the daemon to notice")
        cluster.start("apiserver")
        eventually(lambda: cluster.api.answers() or None, "the server to be back")
        site.job("b")
        assert uid(site.jobs()["a"]) == done


def test_a_leader_that_was_stopped_for_longer_than_its_lease_changes_nothing(
    site: ClusterSite,
) -> None:
    site.push_model("a", params={"epochs": 3})
    with daemon(site, "one") as one:
        old = site.job("a")
        until(lambda: phase(site, "a") is not None, what="the first status")
        os.kill(one.pid, signal.SIGSTOP)
        # What it would do, were it to go on: push the status of a run, for a head that is old.
        site.kubelet(old, running())
        with daemon(site, "two"):
            until(lambda: "leading" in site.log_of("two"), what="the other to lead")
            site.push_model("a", params={"epochs": 4})
            new = site.job("a", other_than=uid(old))
            until(
                lambda: (
                    site.statuses()["a"]["desired"]["key"]
                    == new["metadata"]["labels"]["substratus.ai/key"]
                ),
                what="the other's status",
            )
            made(site, "a")
            before = site.head_of_status()
            os.kill(one.pid, signal.SIGCONT)
            until(lambda: "not leading any more" in site.log_of("one"), what="it to notice")
            until(lambda: "stopped; runs go on" in site.log_of("one"), what="it to stand down")
            assert [uid(job) for job in site.jobs().values()] == [uid(new)]
            assert site.head_of_status() == before
