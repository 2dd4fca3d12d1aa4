"""What others do to Jobs: ours come back once, theirs are left alone."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import ClusterSite, daemon, uid
from tests.e2e.site import until
from tests.engines.kubernetes.orders import running, terminated
from tests.patience import PATIENCE


@pytest.fixture
def site(tmp_path: Path, namespace: Namespace) -> ClusterSite:
    return ClusterSite(tmp_path, namespace)


def delete(site: ClusterSite, job: Any) -> None:
    """As ``kubectl delete job`` does, by hand."""
    site.namespace.kubectl("delete", "job", job["metadata"]["name"], "--wait=false")


def test_a_job_that_somebody_deletes_while_it_runs_is_created_again_once(
    site: ClusterSite,
) -> None:
    site.push_model("a")
    with daemon(site):
        first = site.job("a")
        site.kubelet(first, running())
        until(lambda: site.phases().get("a") == "Training", what="it to train")
        delete(site, first)
        second = site.job("a", other_than=uid(first))
        assert second["metadata"]["name"] == first["metadata"]["name"]
        site.kubelet(second, terminated(0))
        until(lambda: site.phases().get("a") == "Ready", what="it to be Ready")
        delete(site, second)
        until(lambda: not site.jobs(), what="the finished Job to be gone")
        site.push_model("b")
        site.job("b")
        assert site.jobs().keys() == {"b"}, "what is complete is not run again"
    assert site.log_of().count('"event": "run created"') == 3


def test_a_job_with_our_name_but_not_our_labels_is_left_alone_and_reported(
    site: ClusterSite,
) -> None:
    site.model("a")
    site.push_model("other")
    theirs = site.squatter("a")
    with daemon(site):
        until(lambda: "it is left alone" in site.told("a"), what="the status to say so")
        assert site.phases()["a"] == "Waiting"
        site.remove("a.yaml")
        site.push()
        until(lambda: "a" not in site.phases(), what="the object to be gone")
    path = f"{site.namespace.jobs}/{theirs['metadata']['name']}"
    found = site.namespace.cluster.api.get(path)
    assert uid(found) == uid(theirs)
    assert found["metadata"]["labels"] == theirs["metadata"]["labels"]
    assert found["spec"] == theirs["spec"]


def test_two_instances_in_one_namespace_never_touch_each_other_s_jobs(
    tmp_path: Path, namespace: Namespace
) -> None:
    sites = []
    for instance in ("first", "second"):
        root = tmp_path / instance
        root.mkdir()
        site = ClusterSite(root, namespace)
        site.instance = f"{site.instance}-{instance}"
        site.configure()
        site.model("same")
        site.push_model(instance)
        sites.append(site)
    one, two = sites
    with ExitStack() as both:
        for site in sites:
            both.enter_context(daemon(site))
        until(lambda: len(jobs(one)) == len(jobs(two)) == 2, what="four Jobs")
        before = jobs(two)
        one.remove("first.yaml")
        one.push_model("same", params={"epochs": 2})
        until(lambda: set(jobs(one).values()) == {"same"}, what="its Job to be removed")
        until(lambda: "first" not in one.phases(), what="its status to be removed")
        assert jobs(two) == before
        two.push_model("more")
        until(lambda: "more" in jobs(two).values(), what="the other to go on")
        assert before.items() <= jobs(two).items()
    for site in sites:
        assert "could not be" not in site.log_of()


def jobs(site: ClusterSite) -> dict[str, str]:
    """The Jobs of one instance, by UID: of which object each is."""
    found = site.namespace.cluster.api.items(site.namespace.jobs)
    return {
        uid(job): job["metadata"]["labels"]["substratus.ai/name"]
        for job in found
        if job["metadata"]["labels"]["substratus.ai/instance"] == site.instance
        and "deletionTimestamp" not in job["metadata"]
    }


def test_a_daemon_that_shares_an_instance_with_another_refuses_to_start(
    tmp_path: Path, namespace: Namespace
) -> None:
    sites = []
    for name in ("one", "two"):
        root = tmp_path / name
        root.mkdir()
        site = ClusterSite(root, namespace)
        site.push_model(name)
        sites.append(site)
    one, two = sites
    with daemon(one):
        job = one.job("one")
        refused = two.daemon()
        assert refused.wait(PATIENCE) == 1
        assert "is of the daemon of cluster local of" in two.log_of()
        assert str(one.remote) in two.log_of()
        assert "give it a kubernetes.instance of its own" in two.log_of()
        assert "Traceback" not in two.log_of()
        assert {uid(found) for found in one.jobs().values()} == {uid(job)}
