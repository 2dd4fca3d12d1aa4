from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster, NodeCluster
from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import ClusterSite
from tests.e2e.node_site import NodeSite, hostpath
from tests.e2e.receiver import Receiver
from tests.e2e.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def own_site(tmp_path: Path, own_control_plane: Cluster) -> ClusterSite:
    """One whose control plane may be stopped, frozen and broken."""
    return ClusterSite(tmp_path, Namespace(own_control_plane, "default"))


@pytest.fixture
def node_site(tmp_path: Path, node_namespace: Namespace, node_cluster: NodeCluster) -> NodeSite:
    """One whose pods run, with a bucket on the node's disk."""
    return NodeSite(tmp_path, node_namespace, node_cluster, hostpath(tmp_path))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with closing(Receiver()) as found:
        yield found
