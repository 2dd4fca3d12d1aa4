"""A daemon that has lost its memory with its Jobs finds what is finished in the bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import daemon
from tests.e2e.family import all_ready, check_family, family
from tests.e2e.node_site import NodeSite, until
from tests.e2e.rclone_bucket import folder_of, rclone_bucket
from tests.e2e.site import git


def lose_everything_but_the_bucket(site: NodeSite) -> None:
    """The status branch, and every Job."""
    git(site.remote, "update-ref", "-d", f"refs/heads/{site.branch}")
    site.namespace.kubectl("delete", "jobs", "--all")
    api = site.namespace.cluster.api
    until(lambda: not api.items(site.namespace.pods), what="every pod to be gone")


def attempts(cluster: NodeCluster, statuses: dict[str, Any]) -> dict[str, list[str]]:
    """The logs of every attempt in the bucket, by object: each is of a command that was started."""
    return {
        name: sorted(
            file.name for file in (folder_of(cluster, status["artifact"]["url"]) / "logs").iterdir()
        )
        for name, status in statuses.items()
    }


@pytest.mark.timeout(900)
def test_what_is_in_the_bucket_is_found_and_nothing_is_made_again(
    tmp_path: Path, node_namespace: Namespace, node_cluster: NodeCluster
) -> None:
    bucket = rclone_bucket(node_cluster, node_namespace, sync="5s", inventory=True)
    site = NodeSite(tmp_path, node_namespace, node_cluster, bucket)
    family(site)
    site.push()
    try:
        with daemon(site, "first"):
            until(lambda: all_ready(site), what="the family to be Ready")
            made = check_family(site)
        before = attempts(node_cluster, made)

        # An inventory: nothing is created.
        lose_everything_but_the_bucket(site)
        with daemon(site, "inventory"):
            until(lambda: all_ready(site), what="the family to be found")
        found = site.statuses()
        for name in made:
            assert found[name]["artifact"]["url"] == made[name]["artifact"]["url"]
        assert found["base"]["artifact"]["metrics"] == {"weight": 14.0}
        assert "run created" not in site.log_of("inventory")
        assert "results found that no record names" in site.log_of("inventory")
        assert site.namespace.cluster.api.items(site.namespace.jobs) == []

        # No inventory: Jobs start, find their markers and tags, and end.
        lose_everything_but_the_bucket(site)
        site.bucket = {**bucket, "inventory": False}
        site.configure()
        with daemon(site, "without"):
            until(lambda: all_ready(site), what="the family to be Ready")
        again = site.statuses()
        for name in made:
            assert again[name]["artifact"] == made[name]["artifact"]
        assert site.log_of("without").count('"event": "run created"') > 0
        assert attempts(node_cluster, again) == before, "no command was started"
    finally:
        site.forge.close()
