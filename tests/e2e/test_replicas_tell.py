"""Two replicas, of which one is killed: whoever is told of something is told of it once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import ClusterSite
from tests.e2e.receiver import Receiver
from tests.e2e.site import git, until
from tests.e2e.test_takeover import replicas
from tests.engines.kubernetes.orders import terminated
from tests.forge.gitlab_server import forge_server
from tests.forge.server import ForgeServer


@pytest.fixture
def forge() -> Iterator[ForgeServer]:
    with forge_server("github") as found:
        yield found


def test_a_replica_that_takes_over_tells_nothing_again(
    tmp_path: Path, namespace: Namespace, receiver: Receiver, forge: ForgeServer
) -> None:
    site = ClusterSite(tmp_path, namespace)
    (tmp_path / "hook-url").write_text(receiver.url)
    (tmp_path / "token").write_text(forge.token)
    site.configure(
        notifications={"urlFile": "hook-url", "interval": "0.1s", "phases": ["Ready"]},
        review={
            "forge": "github",
            "api": forge.api,
            "repository": "team/models",
            "tokenFile": "token",
            "interval": "0.2s",
        },
    )
    site.push_model("a")
    with replicas(site) as both:
        both.settle()
        site.kubelet(site.job("a"), terminated(0))
        until(receiver.events, what="the first to be told of")
        git(site.work, "checkout", "--quiet", "-b", "change")
        site.model("a", params={"epochs": 2})
        head = site.propose("refs/pull/7/head")
        git(site.work, "checkout", "--quiet", "main")
        forge.open(7, head)
        until(lambda: planned(site) == 1 and forge.bodies(7), what="the pull request to be planned")
        until(lambda: forge.status(head), what="its status")

        both.strike(freeze=False)
        until(lambda: planned(site) == 2, what="the other to plan it too")
        site.push_model("b")
        site.kubelet(site.job("b"), terminated(0))
        until(lambda: len(receiver.events()) > 1, what="the second to be told of")
    assert [name for name, _, _ in receiver.events()] == ["a", "b"]
    assert len(forge.statuses[head]) == 1
    assert [comment["edits"] for comment in forge.comments[7]] == [0]


def planned(site: ClusterSite) -> int:
    return sum(site.log_of(name).count("pull request planned") for name in ("one", "two"))
