"""Another version takes over what the one before it has left, and leaves it as it is."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.cluster import audit
from tests.cluster.cluster import Cluster
from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import ClusterSite, daemon, uid
from tests.e2e.site import until
from tests.engines.kubernetes.orders import running, terminated

#: A daemon that calls itself another version, by which it is told in the audit log.
NEWER = """
import sys
import reconciler
reconciler.__version__ = "99.0.0"
from reconciler.cli import main
sys.exit(main(sys.argv[1:]))
"""
END = {"done": "Ready", "failed": "Failed", "going": "Training", "waiting": "Pending"}


class Upgraded(ClusterSite):
    def command(self, *arguments: str) -> list[str]:
        _, _, _, *rest = super().command(*arguments)
        return [sys.executable, "-c", NEWER, *rest]


def test_an_upgrade_creates_deletes_and_retries_nothing(
    tmp_path: Path, own_control_plane: Cluster
) -> None:
    site = ClusterSite(tmp_path, Namespace(own_control_plane, "default"))
    for name in END:
        site.model(name)
    site.push()
    with daemon(site, "old"):
        site.kubelets(done=terminated(0), failed=terminated(3), going=running())
        site.job("waiting")
        until(lambda: site.phases() == END, what="every kind of run")
    jobs, head = site.jobs(), site.head_of_status()

    site.__class__ = Upgraded
    site.configure(
        kubernetes={
            "images": {"wrapper": "registry.test/busybox:2", "rclone": "registry.test/rclone:2"},
            "templates": {
                task: {"metadata": {"labels": {"team": "new"}}, "spec": {"priority": 7}}
                for task in ("build", "load", "train")
            },
        }
    )
    with daemon(site, "new"):
        until(lambda: "the cluster is watched" in site.log_of("new"), what="the takeover")
        site.kubelet(jobs["going"], terminated(0))
        until(lambda: site.phases() == {**END, "going": "Ready"}, what="its end to be noticed")
        site.push_model("fresh")
        fresh = site.job("fresh")
        assert fresh["spec"]["template"]["metadata"]["labels"]["team"] == "new"
        after = site.jobs()
        assert {name: uid(after[name]) for name in jobs} == {n: uid(j) for n, j in jobs.items()}
    assert head != site.head_of_status()
    wrote = {
        (asked.verb, asked.name)
        for asked in audit.asked(own_control_plane, agent="model-reconciler/99.0.0")
        if asked.resource == "jobs" and asked.verb not in ("get", "list", "watch")
    }
    assert wrote == {("create", "")} or wrote == {("create", fresh["metadata"]["name"])}
