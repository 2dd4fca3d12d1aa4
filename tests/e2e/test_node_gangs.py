"""A training on several nodes whose ranks the scheduler places together, or not at all."""

from __future__ import annotations

from pathlib import Path

from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.e2e.node_site import NodeSite, daemon, hostpath, program, until

_RANKS = 4
TRAINING = """\
import os
from pathlib import Path
rank = os.environ["NODE_RANK"]
Path(os.environ["MODEL_DIR"], f"rank-{rank}").write_text(rank)
"""


def test_three_ranks_are_never_held_for_a_fourth_that_has_no_place(
    tmp_path: Path, own_gang_cluster: NodeCluster
) -> None:
    cluster = own_gang_cluster
    namespace = Namespace(cluster, "default")
    site = NodeSite(tmp_path, namespace, cluster, hostpath(tmp_path))
    # Three ranks have room on the node that is there.
    resources = {"nodes": _RANKS, "cpu": f"{_millicores(cluster) // (_RANKS - 1)}m"}
    program(site, "wide", TRAINING, resources=resources)
    site.push()

    def placed() -> list[str]:
        """Whether each rank that the scheduler has looked at got a place."""
        return [
            condition["status"]
            for pod in cluster.api.items(namespace.pods)
            for condition in pod["status"].get("conditions", ())
            if condition["type"] == "PodScheduled"
        ]

    with daemon(site):
        until(lambda: len(placed()) == _RANKS, what="the scheduler to look at all ranks")
        assert placed() == ["False"] * _RANKS
        until(lambda: _reason(site) == "Unschedulable", what="its status")
        cluster.start("node2")
        status = site.ready("wide")
    (task,) = status["tasks"]
    assert task["attempts"] == 1
    folder = Path(status["artifact"]["url"].removeprefix("file://"))
    assert sorted(path.name for path in folder.glob("rank-*")) == [
        f"rank-{rank}" for rank in range(_RANKS)
    ]


def _reason(site: NodeSite) -> str | None:
    reason: str | None = site.statuses().get("wide", {}).get("reason")
    return reason


def _millicores(cluster: NodeCluster) -> int:
    """The CPU that pods can have of the node."""
    node = cluster.api.find("/api/v1/nodes/node1")
    assert node is not None
    text = str(node["status"]["allocatable"]["cpu"])
    return int(text[:-1]) if text.endswith("m") else 1000 * int(text)
