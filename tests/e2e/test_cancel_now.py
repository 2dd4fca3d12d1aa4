"""``cancel --now`` ends a Job, and a daemon before or after knows that a user did."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import processes
from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import ClusterSite, daemon, uid
from tests.e2e.site import until
from tests.engines.kubernetes.orders import running, terminated

PRICES = {"currency": "EUR", "cpu": 3.6}
ENDED = {**terminated(143), "reason": "DeadlineExceeded"}


@pytest.fixture
def site(tmp_path: Path, namespace: Namespace) -> ClusterSite:
    site = ClusterSite(tmp_path, namespace)
    site.configure(prices=PRICES)
    return site


def command(site: ClusterSite, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command as typed by a person with the kubeconfig, outside of any clone."""
    return processes.run(
        site.command(*arguments), cwd=site.root, env={**os.environ, **site.environment()}
    )


def said(site: ClusterSite, *arguments: str) -> str:
    done = command(site, *arguments)
    assert done.returncode in (0, 2), done.stderr
    return done.stdout


def end(site: ClusterSite, job: Any, *options: str) -> str:
    """End the run, whose kubelet sees the deadline."""
    path = f"{site.namespace.pods}?labelSelector=batch.kubernetes.io/job-name="
    with subprocess.Popen(
        site.command("cancel", "a", "--now", "--reason", "wrong data", *options),
        cwd=site.root,
        env={**os.environ, **site.environment()},
        stdout=subprocess.PIPE,
        text=True,
    ) as asked:
        until(lambda: is_overdue(site, path + job["metadata"]["name"]), what="the pod's deadline")
        site.kubelet(job, ENDED)
        told, _ = asked.communicate(timeout=120)
    assert asked.returncode == 0
    return str(told)


def is_overdue(site: ClusterSite, path: str) -> bool:
    (pod,) = site.namespace.cluster.api.get(path)["items"]
    return bool(pod["spec"].get("activeDeadlineSeconds") == 1)


def test_under_a_daemon_it_stays_ended_until_a_retry(site: ClusterSite) -> None:
    site.push_model("a", more="    resources: {cpu: 2}\n")
    with daemon(site):
        job = site.job("a")
        site.kubelet(job, running())
        until(lambda: site.phases().get("a") == "Training", what="it to train")
        key = job["metadata"]["labels"]["substratus.ai/key"]
        preview = said(site, "cancel", "a", "--now", "--dry-run")
        assert f"train {key[:12]} would be ended after " in preview
        told = end(site, job)
        assert "was ended; what its command has left stays" in told
        assert "reconciler retry a --commit" in told
        until(lambda: site.phases().get("a") == "Failed", what="the status")
        again = command(site, "cancel", "a", "--now")
        assert again.returncode == 1
        name = site.namespace.name
        assert f"of Model {name}/a runs in the namespace {name};" in again.stderr
    status = site.statuses()["a"]
    assert status["reason"] == "EndedByUser"
    assert status["message"].endswith("UTC: wrong data")
    (entry,) = status["history"]
    assert (entry["phase"], entry["reason"]) == ("Failed", "EndedByUser")
    assert entry["seconds"] > 0
    assert entry["cost"] > 0
    assert "reconciler retry NAME" in said(site, "why", "a")
    site.namespace.cluster.api.delete(f"{site.namespace.jobs}/{job['metadata']['name']}")
    with daemon(site, "again"):
        site.push_model("b")
        site.job("b")
        assert site.jobs().keys() == {"b"}, "no sync starts it again"
        site.edit("a.yaml", "{name: a}", '{name: a, annotations: {substratus.ai/retry: "1"}}')
        site.push()
        assert uid(site.job("a")) != uid(job)


def test_without_a_daemon_the_next_one_finds_it_in_the_job(site: ClusterSite) -> None:
    site.push_model("a")
    with daemon(site):
        job = site.job("a")
        site.kubelet(job, running())
        until(lambda: site.phases().get("a") == "Training", what="it to train")
    end(site, job, "--namespace", site.namespace.name)
    with daemon(site, "again"):
        until(lambda: site.phases().get("a") == "Failed", what="the status")
        assert uid(site.job("a")) == uid(job)
    assert site.statuses()["a"]["reason"] == "EndedByUser"
    assert site.statuses()["a"]["history"][-1]["seconds"] > 0


def test_a_queued_job_is_deleted_once_its_end_is_recorded(site: ClusterSite) -> None:
    site.push_model("a", more="    queue: team\n")
    with daemon(site):
        site.job("a")
        until(lambda: "queued in team" in site.told("a"), what="it to be queued")
        said(site, "cancel", "a", "--now")
        until(lambda: site.phases().get("a") == "Failed", what="the status")
        until(lambda: not site.jobs(), what="its Job to leave the queue")
    assert site.statuses()["a"]["reason"] == "EndedByUser"
