"""Trainings in the queues of a real Kueue; what a kubelet would say of their pods is ours."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.fixtures import Namespace
from tests.cluster.kubeconfig import write_kubeconfig
from tests.e2e.cluster_site import IMAGE, ClusterSite, daemon, uid
from tests.e2e.queues import (
    GPU,
    cluster_queue,
    local_queue,
    priority_class,
    queues,
    why,
    workloads,
)
from tests.e2e.site import until
from tests.e2e.test_cluster_metrics import Served
from tests.e2e.test_rights import Deployed, apply, used
from tests.engines.kubernetes.orders import running, terminated
from tests.git.remotes import HttpRemote
from tests.processes import run
from tests.test_deploy import as_the_daemon

#: A training that takes the quota of one GPU.
ONE_GPU = "    resources: {gpu: {count: 1}}\n    queue: gpus\n"
#: The annotation of a Job that names the manifest which it was made of.
PATH = "substratus.ai/path"


@pytest.fixture
def site(tmp_path: Path, queue_namespace: Namespace) -> ClusterSite:
    site = ClusterSite(tmp_path, queue_namespace)
    site.configure(server={"address": "127.0.0.1:0"})
    return site


class Account:
    """A service account of a test's namespace, which may do there what it is allowed to."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        namespace.kubectl("create", "serviceaccount", "daemon")

    def allow(self, resources: Mapping[str, Sequence[str]]) -> None:
        """Allow all verbs of resources, by their group."""
        name = f"may-{secrets.token_hex(4)}"
        rules = [{"apiGroups": [g], "resources": r, "verbs": ["*"]} for g, r in resources.items()]
        role = {"kind": "Role", "metadata": {"name": name}, "rules": rules}
        self._namespace.kubectl(
            "create", "-f", "-", given={"apiVersion": "rbac.authorization.k8s.io/v1", **role}
        )
        account = f"--serviceaccount={self._namespace.name}:daemon"
        self._namespace.kubectl("create", "rolebinding", name, f"--role={name}", account)

    def kubeconfig(self, folder: Path) -> Path:
        cluster = self._namespace.cluster
        token = self._namespace.kubectl("create", "token", "daemon").strip()
        server = {"server": cluster.server, "certificate-authority": str(cluster.ca)}
        return write_kubeconfig(folder / "account.kubeconfig", server, {"token": token})


def is_suspended(site: ClusterSite, name: str) -> bool:
    job = site.jobs().get(name)
    return job is not None and bool(job["spec"].get("suspend"))


def is_admitted(site: ClusterSite, name: str) -> bool:
    job = site.jobs().get(name)
    return job is not None and not job["spec"].get("suspend")


def waits(site: ClusterSite, name: str, *words: str) -> None:
    """Wait for an object to be Pending, with these words of its reason."""

    def told() -> bool:
        text = site.told(name)
        return text.startswith("Pending: ") and all(word in text for word in words)

    until(told, what=f"{name} to say {words}; it says: {site.told(name)}")


def carry(site: ClusterSite, name: str) -> None:
    """What a kubelet makes of a training that is admitted: it runs, and ends well."""
    until(lambda: is_admitted(site, name), what=f"the admission of {name}")
    job = site.job(name)
    site.kubelet(job, running())
    until(lambda: site.phases().get(name) == "Training", what=f"{name} to train")
    site.kubelet(job, terminated(0))
    until(lambda: site.phases().get(name) == "Ready", what=f"{name} to be Ready")


def history(site: ClusterSite, name: str) -> list[Any]:
    entries: list[Any] = site.statuses()[name].get("history", [])
    return entries


def test_a_quota_of_one_gpu_is_used_by_two_trainings_in_turn(site: ClusterSite) -> None:
    queues(site.namespace, gpus=1)
    site.model("a", more=ONE_GPU)
    site.push()
    with daemon(site):
        until(lambda: is_admitted(site, "a"), what="a to be admitted")
        site.push_model("b", more=ONE_GPU)
        waits(site, "b", "queued in gpus, at position 1: ", "insufficient", "nvidia.com/gpu")
        assert "queued in gpus, at position 1: " in why(site, "b")
        carry(site, "a")
        carry(site, "b")
    assert all(entry["phase"] == "Succeeded" for entry in history(site, "b"))


def test_a_preempted_training_is_queued_again_and_ends_well(site: ClusterSite) -> None:
    queues(site.namespace, gpus=1, preemption="LowerPriority")
    urgent = priority_class(site.namespace, 1000)
    site.push_model("a", more=ONE_GPU)
    told = Served(site)
    owner = {"kind": "Model", "namespace": site.namespace.name, "name": "a"}
    with daemon(site):
        until(lambda: is_admitted(site, "a"), what="a to be admitted")
        first = site.job("a")
        site.kubelet(first, running())
        until(lambda: told.value("gpus_in_use") == 1, what="the GPU to be in use")
        site.push_model("b", more=f"{ONE_GPU}    priority: {urgent}\n")
        waits(site, "a", "queued again in gpus", "reempted")
        assert "queued again in gpus" in why(site, "a")
        until(lambda: told.value("gpus_in_use") == 0, what="the GPU to be released")
        carry(site, "b")
        carry(site, "a")
        until(lambda: told.value("gpus_in_use") == 0, what="all to be over")
        assert uid(site.job("a")) == uid(first), "the Job is the same"
        assert told.ended("failed") == 0
        assert told.ended("infrastructure") == 0
        assert told.ended("succeeded") == 2
        assert (told.value("gpu_seconds_total", **owner) or 0) > 0
    interrupted, succeeded = sorted(history(site, "a"), key=lambda entry: str(entry["phase"]))
    assert interrupted["phase"] == "Interrupted"
    assert interrupted["reason"] == "RunSuspended"
    assert "reempted" in interrupted["message"]
    assert succeeded["phase"] == "Succeeded"


def test_a_queue_that_does_not_exist_is_named(site: ClusterSite) -> None:
    site.push_model("a", more="    queue: nowhere\n")
    with daemon(site):
        waits(site, "a", "queued in nowhere: LocalQueue nowhere doesn't exist")
        job = site.job("a")
        site.push_model("b")
        until(lambda: "b" in site.jobs(), what="some more syncs")
        assert uid(site.job("a")) == uid(job)
        assert len(workloads(site.namespace)) == 1
        # Once somebody makes it, it is taken.
        queues(site.namespace, gpus=1)
        local_queue(site.namespace, "nowhere")
        carry(site, "a")


def test_a_queue_without_a_cluster_queue_is_named(site: ClusterSite) -> None:
    local_queue(site.namespace)
    site.push_model("a", more="    queue: gpus\n")
    with daemon(site):
        waits(site, "a", "queued in gpus: ClusterQueue", "doesn't exist")
        cluster_queue(site.namespace, gpus=0)
        carry(site, "a")


def test_each_task_has_the_queue_of_its_own_section(site: ClusterSite) -> None:
    queues(site.namespace, gpus=0)
    forge = HttpRemote(site.root)
    repository = {"url": forge.url("manifests.git"), "interval": "1s"}
    site.configure(repository=repository, sources={"allow": ["http://*"]})
    for folder in ("src", "plain"):
        site.write(f"{folder}/Dockerfile", f"FROM scratch\nLABEL of={folder}\n")
    manifests = {
        "plain": "kind: Model\nmetadata: {name: plain}\nspec:\n"
        "  source: {git: {url: ., path: plain}}\n  training: {mode: Scratch, queue: gpus}\n",
        "built": "kind: Model\nmetadata: {name: built}\nspec:\n"
        "  source: {git: {url: ., path: src}}\n  build: {queue: gpus}\n"
        "  training: {mode: Scratch}\n",
        "loaded": "kind: Dataset\nmetadata: {name: loaded}\nspec:\n"
        f"  source: {{image: {{ref: '{IMAGE}'}}}}\n  load: {{queue: gpus}}\n",
        "free": "kind: Dataset\nmetadata: {name: free}\nspec:\n"
        f"  source: {{image: {{ref: '{IMAGE}'}}}}\n",
    }
    for name, text in manifests.items():
        site.write(f"{name}.yaml", text)
    site.push()
    jobs = site.namespace.jobs

    def labelled() -> dict[str, tuple[str | None, bool]]:
        """Of each Job's task its queue, and whether it waits."""
        found = {}
        for job in site.namespace.cluster.api.items(jobs):
            meta, suspended = job["metadata"], bool(job["spec"].get("suspend"))
            what = (
                f"{meta['labels']['substratus.ai/task']} of {Path(meta['annotations'][PATH]).stem}"
            )
            found[what] = (meta["labels"].get("kueue.x-k8s.io/queue-name"), suspended)
        return found

    with closing(forge), daemon(site):
        until(
            lambda: (
                labelled()
                == {
                    "build of built": ("gpus", False),
                    "build of plain": (None, False),
                    "load of loaded": ("gpus", False),
                    "load of free": (None, False),
                }
            ),
            what="the admission of what is queued",
        )
        assert len(workloads(site.namespace)) == 2


def test_two_nodes_are_admitted_together_or_not_at_all(site: ClusterSite) -> None:
    queues(site.namespace, gpus=1)
    # An annotation of a Job that would have Kueue admit one of them; a pod's says nothing to it.
    partial = {"metadata": {"annotations": {"kueue.x-k8s.io/job-min-parallelism": "1"}}}
    known = json.loads((site.root / "reconciler.yaml").read_text())["kubernetes"]
    site.configure(kubernetes={**known, "templates": {"train": partial}})
    two = "    resources: {gpu: {count: 1}, nodes: 2}\n    queue: gpus\n"
    site.push_model("a", more=two)
    with daemon(site):
        waits(site, "a", "queued in gpus", "nvidia.com/gpu")
        assert is_suspended(site, "a")
        assert site.namespace.cluster.api.items(site.namespace.pods) == [], "no rank has begun"
        queue = f"/apis/kueue.x-k8s.io/v1beta2/clusterqueues/{site.namespace.name}"
        groups = site.namespace.cluster.api.get(queue)["spec"]["resourceGroups"]
        quotas = {each["name"]: each for each in groups[0]["flavors"][0]["resources"]}
        quotas[GPU]["nominalQuota"] = 2
        site.namespace.cluster.api.request("PATCH", queue, {"spec": {"resourceGroups": groups}})
        until(lambda: is_admitted(site, "a"), what="both to be admitted")
        until(
            lambda: len(site.namespace.cluster.api.items(site.namespace.pods)) == 2,
            what="both ranks",
        )


def test_a_cluster_without_kueue_is_told_of(tmp_path: Path, namespace: Namespace) -> None:
    site = ClusterSite(tmp_path, namespace)
    site.push_model("a", more="    queue: gpus\n")
    with daemon(site):
        waits(site, "a", "queued in gpus, but this cluster has no Kueue")
    done = run(site.command("run", "--once", "--patience", "3s"), env=site.environment())
    assert done.returncode == 3, done.stderr
    assert "no Kueue" in done.stderr + done.stdout


def test_positions_are_told_by_a_right_of_their_own(site: ClusterSite) -> None:
    queues(site.namespace, gpus=0)
    account = Account(site.namespace)
    account.allow({"": ["pods", "pods/log"], "batch": ["jobs"], "coordination.k8s.io": ["leases"]})
    site.push_model("a", more=ONE_GPU)
    with daemon(site, kubeconfig=account.kubeconfig(site.root)):
        waits(site, "a", "queued in gpus: Kueue has not admitted it yet")
        account.allow({"kueue.x-k8s.io": ["workloads"]})
        waits(site, "a", "queued in gpus: ", "insufficient quota")
        account.allow({"visibility.kueue.x-k8s.io": ["localqueues/pendingworkloads"]})
        waits(site, "a", "queued in gpus, at position 1: ", "insufficient quota")
    assert '"level": "error"' not in site.log_of()


@pytest.mark.timeout(900)
def test_kueue_is_installed_under_a_daemon_with_an_older_visibility_api_or_none(
    tmp_path: Path, late_queue_cluster: Cluster
) -> None:
    cluster = late_queue_cluster
    site = ClusterSite(tmp_path, Namespace(cluster, "default"))
    site.push_model("a", more=ONE_GPU)
    services = "/apis/apiregistration.k8s.io/v1/apiservices"
    with daemon(site):
        waits(site, "a", "queued in gpus, but this cluster has no Kueue")
        job = site.job("a")
        cluster.start("kueue")
        cluster.api.delete(f"{services}/v1beta2.visibility.kueue.x-k8s.io")
        queues(site.namespace, gpus=0)
        waits(site, "a", "queued in gpus, at position 1: ", "insufficient quota")
        cluster.api.delete(f"{services}/v1beta1.visibility.kueue.x-k8s.io")
        waits(site, "a", "queued in gpus: ", "insufficient quota")
        assert uid(site.job("a")) == uid(job)
    assert '"level": "error"' not in site.log_of()


@pytest.mark.timeout(900)
def test_kueue_that_is_stopped_and_started_goes_on_by_the_deployed_rights(
    tmp_path: Path, own_queue_cluster: Cluster
) -> None:
    cluster = own_queue_cluster
    apply(cluster, tmp_path / "overlay", ["queues"])
    root = tmp_path / "site"
    root.mkdir()
    site = Deployed(root, Namespace(cluster, "models"))
    queues(site.namespace, gpus=1)
    site.model("a", more=ONE_GPU)
    site.push_model("b", more=ONE_GPU)
    with daemon(site, kubeconfig=as_the_daemon(cluster, tmp_path)):
        until(lambda: any(is_admitted(site, name) for name in "ab"), what="one to be admitted")
        first, second = ("a", "b") if is_admitted(site, "a") else ("b", "a")
        waits(site, second, "queued in gpus, at position 1: ")
        site.kubelet(site.job(first), running())
        cluster.stop("kueue")
        site.kubelet(site.job(first), terminated(0))
        until(lambda: site.phases().get(first) == "Ready", what="what runs to end")
        assert is_suspended(site, second)
        # Nobody answers Kueue's webhooks, so that the API server takes no Job of any kind.
        site.push_model("c")
        until(lambda: "webhook" in site.told("c"), what="c to say what refuses it")
        cluster.start("kueue")
        carry(site, second)
        until(lambda: "c" in site.jobs(), what="the Job of c, tried again")
    granted = {("list", "workloads"), ("watch", "workloads")}
    assert granted | {("get", "localqueues/pendingworkloads")} <= used(cluster)
