"""Clusters as pytest fixtures; ``tests/conftest.py`` makes them known to every test.

- ``control_plane``: a `Cluster`, shared by all tests and all workers of a session.
- ``namespace``: a `Namespace` of the test's own in it; ``module_namespace``: of its module's.
- ``node_cluster``: a `NodeCluster`, on which pods run; shared likewise.
- ``node_namespace``: a `Namespace` of the test's own in that.
- ``own_control_plane``, ``own_node_cluster``: for tests that stop or break things.
- ``own_gang_cluster``: as ``own_node_cluster``, with the gates for gangs on.
- ``queue_cluster``, ``queue_namespace``, ``own_queue_cluster``: a control plane with Kueue.
- ``late_queue_cluster``: one that has no Kueue before the test starts it.
- ``gpu_cluster``, ``gpu_namespace``: a node with two GPUs that do nothing, and Kueue.
- ``gcs_cluster``, ``gcs_namespace``: a node with gcsfuse, and a server of Cloud Storage.
- ``mountpoint_cluster``, ``mountpoint_namespace``: a node with Mountpoint for S3 and its driver.
- ``policy_cluster``, ``policy_namespace``: a node that enforces NetworkPolicies.

``TEST_KUBECONFIG`` names a cluster of the user's to take as ``control_plane`` (see ``given``).

Where this machine cannot have one (no Go, not root) the tests are skipped with the reason, and in
CI they fail. Binaries are built before the first test, never within one, whose time is bounded.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster import given, kueue, lease, machine
from tests.cluster.api import ApiError, Object
from tests.cluster.build import built, programs
from tests.cluster.cluster import Cluster, NodeCluster
from tests.cluster.errors import ClusterFailed, ClusterUnavailable
from tests.cluster.recipes import Level
from tests.needs import unavailable

_FIXTURES: dict[str, Level] = {
    "control_plane": "control-plane",
    "own_control_plane": "control-plane",
    "node_cluster": "node",
    "own_node_cluster": "node",
    "own_gang_cluster": "node",
    "queue_cluster": "queue",
    "own_queue_cluster": "queue",
    "late_queue_cluster": "queue",
    "gpu_cluster": "queue-node",
    "gcs_cluster": "gcs-node",
    "mountpoint_cluster": "mountpoint-node",
    "policy_cluster": "policy-node",
}
#: Levels that are built when they are asked for: the mark, which ``make test-…`` has too, and the
#: program.
_ASKED_FOR: Mapping[Level, tuple[str, str]] = {
    "queue-node": ("kueue", "kueue"),
    "queue": ("kueue", "kueue"),
    "gcs-node": ("gcsfuse", "gcsfuse"),
    "mountpoint-node": ("mountpoint", "mountpoint"),
    "policy-node": ("policies", "kube-router"),
}
_UNAVAILABLE = pytest.StashKey[dict[Level, str]]()


@dataclass(frozen=True)
class Namespace:
    """A namespace that only this test uses."""

    cluster: Cluster
    name: str

    def kubectl(self, *arguments: str, given: str | Object | None = None) -> str:
        return self.cluster.kubectl("--namespace", self.name, *arguments, given=given)

    @property
    def jobs(self) -> str:
        """The path of its Jobs, for ``cluster.api``."""
        return f"/apis/batch/v1/namespaces/{self.name}/jobs"

    @property
    def pods(self) -> str:
        return f"/api/v1/namespaces/{self.name}/pods"

    def story(self) -> str:
        """What is in it and what happened there, for the report of a failed test."""
        objects = self.kubectl("get", "jobs,pods", "--output=wide")
        return f"{objects}\n{self.kubectl('events')}"


# -- pytest's hooks ------------------------------------------------------------------------------


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a cluster, so that ``-m 'not cluster'`` leaves it out."""
    for item in items:
        used = {_FIXTURES[name] for name in getattr(item, "fixturenames", ()) if name in _FIXTURES}
        if used:
            item.add_marker("cluster")
        if any(level.endswith("node") for level in used):
            item.add_marker("node")
        for level in used.intersection(_ASKED_FOR):
            item.add_marker(_ASKED_FOR[level][0])


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what the chosen tests need, and remember what this machine cannot have."""
    why: dict[Level, str] = {}
    session.config.stash[_UNAVAILABLE] = why
    if session.config.option.collectonly:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        for level in sorted({level for item in session.items if (level := _needed(item))}):
            try:
                if level.endswith("node"):
                    machine.check()
                if level in _ASKED_FOR:
                    _check_asked_for(level)
                programs(level)
            except ClusterUnavailable as error:
                why[level] = str(error)
            except ClusterFailed as error:
                pytest.exit(str(error), returncode=1)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine cannot run; CI's can run everything but what it does not build."""
    level = _needed(item)
    why = item.config.stash[_UNAVAILABLE].get(level) if level else None
    if why is not None:
        if level in _ASKED_FOR:
            pytest.skip(why)
        unavailable(why)


def _needed(item: pytest.Item) -> Level | None:
    """The level that the test takes of what is built here."""
    levels = {_FIXTURES[name] for name in getattr(item, "fixturenames", ()) if name in _FIXTURES}
    if (level := next((level for level in _ASKED_FOR if level in levels), None)) is not None:
        return level
    if item.get_closest_marker("node"):
        return "node"
    if item.get_closest_marker("cluster") is None:
        return None
    used = {name for name in getattr(item, "fixturenames", ()) if name in _FIXTURES}
    return None if given.kubeconfig() and used == {"control_plane"} else "control-plane"


def _check_asked_for(level: Level) -> None:
    mark, program = _ASKED_FOR[level]
    if program == "kueue":
        kueue.check()
    if program == "kube-router" and shutil.which("ipset", path=machine.PATH) is None:
        raise ClusterUnavailable("kube-router needs ipset: apt-get install ipset")
    if program not in built(level):
        raise ClusterUnavailable(f"{program} is not built; make test-{mark} does that")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test's report says what its namespace looked like and where the logs are."""
    report = yield
    if report.when == "call" and report.failed:
        for used in getattr(item, "funcargs", {}).values():
            if isinstance(used, Namespace):
                report.sections.append((f"namespace {used.name}", _try(used.story)))
            if isinstance(used, Cluster):
                report.sections.append(("cluster", f"logs are in {used.folder / 'logs'}"))
    return report


def _try(tell: Callable[[], str]) -> str:
    try:
        return tell()
    except (AssertionError, OSError) as error:  # the cluster may be what failed
        return repr(error)


# -- fixtures ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A control plane that all tests share: leave alone what is not in your namespace."""
    folder = _shared(request, "control-plane")
    theirs = given.kubeconfig()
    shared = lease.control_plane(folder) if theirs is None else _given(theirs, folder)
    with shared as cluster:
        yield cluster


@pytest.fixture(scope="session")
def node_cluster(request: pytest.FixtureRequest) -> Iterator[NodeCluster]:
    """A cluster with a node that all tests share: leave alone what is not in your namespace."""
    with lease.node(_shared(request, "node")) as cluster:
        yield cluster


@pytest.fixture
def own_control_plane(tmp_path: Path) -> Iterator[Cluster]:
    """A control plane that this test may stop, freeze and break; with an audit log."""
    with lease.control_plane(tmp_path / "c", audit=True) as cluster:
        yield cluster


@pytest.fixture
def own_node_cluster(tmp_path: Path) -> Iterator[NodeCluster]:
    """A cluster with a node that this test may stop, freeze and break; with an audit log."""
    with lease.node(tmp_path / "c", audit=True) as cluster:
        yield cluster


@pytest.fixture
def own_gang_cluster(tmp_path: Path) -> Iterator[NodeCluster]:
    """A cluster with a node whose scheduler has gangs; with an audit log."""
    with lease.node(tmp_path / "c", audit=True, gangs=True) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def queue_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A control plane with Kueue that all tests share: queues of a test have names of its own."""
    with lease.control_plane(_shared(request, "queue"), "queue") as cluster:
        yield cluster


@pytest.fixture
def own_queue_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A control plane whose program ``kueue`` this test may stop and start; with an audit log."""
    with lease.control_plane(tmp_path / "c", "queue", audit=True) as cluster:
        yield cluster


@pytest.fixture
def late_queue_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A control plane without Kueue, which ``start("kueue")`` installs; with an audit log."""
    with lease.control_plane(tmp_path / "c", "queue", audit=True, late=True) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def gpu_cluster(request: pytest.FixtureRequest) -> Iterator[NodeCluster]:
    """A cluster with Kueue and a node that has GPUs, shared by all tests."""
    with lease.node(_shared(request, "queue-node"), "queue-node") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def gcs_cluster(request: pytest.FixtureRequest) -> Iterator[NodeCluster]:
    """A cluster whose node mounts buckets by gcsfuse, shared by all tests."""
    with lease.node(_shared(request, "gcs-node"), "gcs-node") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def mountpoint_cluster(request: pytest.FixtureRequest) -> Iterator[NodeCluster]:
    """A cluster whose node mounts buckets by Mountpoint for S3, shared by all tests."""
    with lease.node(_shared(request, "mountpoint-node"), "mountpoint-node") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def policy_cluster(request: pytest.FixtureRequest) -> Iterator[NodeCluster]:
    """A cluster whose node enforces NetworkPolicies, shared by all tests."""
    with lease.node(_shared(request, "policy-node"), "policy-node") as cluster:
        yield cluster


@pytest.fixture
def policy_namespace(
    request: pytest.FixtureRequest, policy_cluster: NodeCluster
) -> Iterator[Namespace]:
    """A namespace of ``policy_cluster`` that only this test uses."""
    with _namespace(request, policy_cluster) as namespace:
        yield namespace


@pytest.fixture
def mountpoint_namespace(
    request: pytest.FixtureRequest, mountpoint_cluster: NodeCluster
) -> Iterator[Namespace]:
    """A namespace of ``mountpoint_cluster`` that only this test uses."""
    with _namespace(request, mountpoint_cluster) as namespace:
        yield namespace


@pytest.fixture
def gcs_namespace(request: pytest.FixtureRequest, gcs_cluster: NodeCluster) -> Iterator[Namespace]:
    """A namespace of ``gcs_cluster`` that only this test uses."""
    with _namespace(request, gcs_cluster) as namespace:
        yield namespace


@pytest.fixture
def queue_namespace(request: pytest.FixtureRequest, queue_cluster: Cluster) -> Iterator[Namespace]:
    """A namespace of ``queue_cluster`` that only this test uses."""
    with _namespace(request, queue_cluster) as namespace:
        yield namespace


@pytest.fixture
def gpu_namespace(request: pytest.FixtureRequest, gpu_cluster: NodeCluster) -> Iterator[Namespace]:
    """A namespace of ``gpu_cluster`` that only this test uses."""
    with _namespace(request, gpu_cluster) as namespace:
        yield namespace


@pytest.fixture
def namespace(request: pytest.FixtureRequest, control_plane: Cluster) -> Iterator[Namespace]:
    """A namespace of ``control_plane`` that only this test uses."""
    with _namespace(request, control_plane) as namespace:
        yield namespace


@pytest.fixture(scope="module")
def module_namespace(request: pytest.FixtureRequest, control_plane: Cluster) -> Iterator[Namespace]:
    """A namespace of ``control_plane`` that only the tests of this module use."""
    with _namespace(request, control_plane) as namespace:
        yield namespace


@pytest.fixture
def node_namespace(
    request: pytest.FixtureRequest, node_cluster: NodeCluster
) -> Iterator[Namespace]:
    """A namespace of ``node_cluster`` that only this test uses."""
    with _namespace(request, node_cluster) as namespace:
        yield namespace


@contextmanager
def _given(kubeconfig: Path, folder: Path) -> Iterator[Cluster]:
    yield given.cluster(kubeconfig, folder)


def _shared(request: pytest.FixtureRequest, name: str) -> Path:
    """One folder for all workers of this session."""
    factory: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
    base = factory.getbasetemp()
    worker = hasattr(request.config, "workerinput")
    return (base.parent if worker else base) / name


@contextmanager
def _namespace(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Namespace]:
    """Named after the test, for whoever looks, and unlike any other."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    name = f"{words[:40].strip('-')}-{secrets.token_hex(4)}"
    cluster.api.create("/api/v1/namespaces", {"metadata": {"name": name}})
    yield Namespace(cluster, name)
    try:
        # In the background: it is done before the cluster goes, or goes with it.
        cluster.api.delete(f"/api/v1/namespaces/{name}")
    except ApiError as error:
        if error.status not in {404, 409}:  # the test removed it
            raise
