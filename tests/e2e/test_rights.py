"""The rights in deploy/ are those that a daemon uses: each of them, and no other.

The daemon runs under the ServiceAccount of an overlay, through all that it can do to a cluster.
What the audit log says it asked for is held against what the applied roles give.
"""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from pathlib import Path

import pytest

from reconciler.engines.kubernetes.client import USER_AGENT
from tests.cluster import audit
from tests.cluster.cluster import Cluster
from tests.cluster.fixtures import Namespace
from tests.cluster.ports import free
from tests.e2e.cluster_site import ClusterSite
from tests.e2e.site import git, stop, until
from tests.engines.kubernetes.orders import running, terminated
from tests.test_deploy import DEPLOY, as_the_daemon

PERSISTENT, WIDE = "persistent-volumes", "cluster-wide"


class Deployed(ClusterSite):
    """A daemon with the environment of the Deployment's pod."""

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "POD_NAMESPACE": "reconciler"}


def apply(cluster: Cluster, folder: Path, components: list[str]) -> None:
    """The overlay ``single`` with these components."""
    folder.mkdir()

    def path(*parts: str) -> str:
        return os.path.relpath(DEPLOY.joinpath(*parts), folder)

    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [path("overlays", "single")],
        "components": [path("components", name) for name in components],
    }
    (folder / "kustomization.yaml").write_text(json.dumps(kustomization))
    cluster.kubectl("apply", f"--kustomize={DEPLOY / 'namespaces'}")
    rendered = cluster.kubectl("kustomize", str(folder))
    cluster.kubectl("apply", "--filename=-", given=rendered)


def granted(cluster: Cluster) -> set[tuple[str, str]]:
    """Every verb and resource of the roles that deploy/ has made, those of the cluster as well."""
    found = set()
    for kind in ("roles", "clusterroles"):
        path = f"/apis/rbac.authorization.k8s.io/v1/{kind}"
        for role in cluster.api.items(path):
            if role["metadata"]["name"].startswith("reconciler"):
                for rule in role["rules"]:
                    found |= {(v, r) for v in rule["verbs"] for r in rule["resources"]}
    return found


def used(cluster: Cluster) -> set[tuple[str, str]]:
    """What the daemon asked for, none of which was forbidden.

    Which kinds there are every account may ask, by ``system:discovery``.
    """
    asked = list(audit.asked(cluster, agent=USER_AGENT))
    assert [each.what for each in asked if each.code in (401, 403)] == []
    return {(each.verb, each.resource) for each in asked if not each.resource.startswith("/apis/")}


@pytest.mark.parametrize("where", ["one namespace", "everywhere"])
def test_a_daemon_uses_every_right_it_has_and_needs_no_other(
    tmp_path: Path, own_control_plane: Cluster, where: str
) -> None:
    cluster = own_control_plane
    wide = [WIDE] if where == "everywhere" else []
    apply(cluster, tmp_path / "overlay", [PERSISTENT, *wide])
    root = tmp_path / "site"
    root.mkdir()
    site = Deployed(root, Namespace(cluster, "models"))
    (port,) = free(1)
    site.configure(
        kubernetes={"namespaces": [] if wide else ["models"]},
        buckets={"default": {"url": "s3://artifacts"}},  # by a volume and a claim
        server={"address": f"127.0.0.1:{port}"},
    )
    for name in ("logged", "removed"):
        site.model(name)
    site.push_model("ranks", more="    resources: {nodes: 2}\n")
    daemon = site.daemon(kubeconfig=as_the_daemon(cluster, tmp_path))
    try:
        everything(site, f"http://127.0.0.1:{port}")
    finally:
        assert stop(daemon) == 0, site.log_of()
        stop(daemon, signal.SIGKILL)
    assert "Traceback" not in site.log_of()
    assert used(cluster) == granted(cluster)


def everything(site: ClusterSite, server: str) -> None:
    """All that a daemon does to a cluster."""
    job = site.job("logged")
    site.job("ranks")
    site.kubelet(job, running())
    until(lambda: site.phases().get("logged") == "Training", what="it to train")
    page = f"{server}/objects/models/models/logged"
    with urllib.request.urlopen(page, timeout=30) as response:  # it has the end of the pod's log
        assert "logged" in response.read().decode()
    site.kubelet(job, terminated(0))
    site.job("removed")
    site.remove("removed.yaml")
    site.model("taken")
    git(site.work, "add", "--all")
    git(site.work, "commit", "--quiet", "--message", "Not pushed yet")
    site.squatter("taken")
    site.push()
    until(lambda: "removed" not in site.jobs(), what="a Job to be deleted")
    until(lambda: site.phases().get("logged") == "Ready", what="it to be Ready")
    # A Job is looked at that has the name of one to be created.
    until(lambda: "left alone" in site.told("taken"), what="the status to say so")
