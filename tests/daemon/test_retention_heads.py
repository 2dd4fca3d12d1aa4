"""What other heads of the repository refer to stays; what cannot be read of them is a doubt."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.config import load_setup
from reconciler.daemon.pull_request_planner import AskedKeys, DaemonState
from reconciler.daemon.retention import Retention
from reconciler.daemon.retention_heads import Found, HeadReader
from reconciler.daemon.retention_sources import RetentionSources
from reconciler.daemon.status_store import StatusStore
from reconciler.engine import Capacity
from reconciler.engines.local import ArtifactPlaces
from reconciler.git import Conflict, LocalRepository
from reconciler.metrics import Metrics
from reconciler.planner import Ledger, OwnCluster, RetentionPolicy, Role
from reconciler.reasons import ReasonCode, message
from reconciler.types import Commit, TaskKey
from reconciler.workspace import PlanState
from tests.e2e.site import Site, git
from tests.git.copies import status_branch_at
from tests.planner.test_retention import NOW
from tests.planner.world import World

KEY, OTHER = "a" * 40, "b" * 40
PINNED = (
    "kind: Model\nmetadata: {name: pinned}\n"
    "spec:\n  source: {model: {name: m, key: %s}}\n  load: {command: []}\n"
)
STATUS = """\
apiVersion: substratus.ai/v1
kind: Model
metadata: {name: there, namespace: default}
status:
  phase: Ready
  references:
  - {cluster: local, kind: Model, namespace: default, name: m, key: %s, url: "file:///x"}
"""
SYNC = "apiVersion: substratus.ai/v1\nkind: Sync\ncluster: %s\n"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.trained("m")
    site.push()
    return site


def read(site: Site, *branches: str) -> Found:
    site.configure(retention={"branches": list(branches)})
    setup = load_setup(site.root / "reconciler.yaml", {})
    state = PlanState(
        records={}, ledger=Ledger(), runs={}, capacity=Capacity(containers=False), now=NOW
    )
    head = Commit(git(site.work, "rev-parse", "origin/main").strip())
    reader = HeadReader(setup)
    found = reader.read(DaemonState(head=head, state=state), LocalRepository.open(site.work))
    again = reader.read(DaemonState(head=head, state=state), LocalRepository.open(site.work))
    assert again == found  # also of what is not read anew
    return found


def referred(found: Found, role: Role) -> set[tuple[str, str]]:
    return {(key, each.name) for key, each in found.references if each.role is role}


def doubts(found: Found) -> list[str]:
    return [message(doubt) for doubt in found.doubts]


def on_branch(site: Site, branch: str, files: dict[str, str]) -> None:
    """Push an orphan branch with these files."""
    git(site.work, "checkout", "--quiet", "--orphan", "other")
    git(site.work, "rm", "-r", "--quiet", "--force", ".")
    for path, text in files.items():
        site.write(path, text)
    site.propose(f"refs/heads/{branch}")
    git(site.work, "checkout", "--quiet", "--force", "main")
    git(site.work, "branch", "--quiet", "-D", "other")


def test_what_the_head_of_a_branch_asks_for_stays(site: Site) -> None:
    site.scratch("m", params={"epochs": 2})
    site.propose("refs/heads/release/1")
    git(site.work, "reset", "--quiet", "--hard", "origin/main")
    assert referred(read(site, "stable"), Role.BRANCH) == set()
    found = read(site, "release/*")
    assert len(referred(found, Role.BRANCH)) == 2  # the build and the training
    assert doubts(found) == []


def test_what_a_branch_pins_stays(site: Site) -> None:
    site.write("pinned.yaml", PINNED % KEY)
    site.propose("refs/heads/release/1")
    git(site.work, "reset", "--quiet", "--hard", "origin/main")
    assert (KEY, "release/1") in referred(read(site, "release/*"), Role.BRANCH)


def test_a_branch_that_cannot_be_planned_is_a_doubt(site: Site) -> None:
    site.write("m.yaml", "kind: Model\nmetadata: {name: m}\nspec: {sorce: 1}\n")
    site.propose("refs/heads/release/2")
    git(site.work, "reset", "--quiet", "--hard", "origin/main")
    assert doubts(read(site)) == []
    (doubt,) = doubts(read(site, "release/*"))
    assert "the branch release/2 may refer to an artifact" in doubt
    assert "m.yaml:3:1: spec.source: is required" in doubt


def test_what_another_cluster_uses_stays(site: Site) -> None:
    path = "default/models/there.yaml"
    files = {"sync.yaml": SYNC % "other", path: STATUS % KEY}
    on_branch(site, "reconciler/status/other", files)
    found = read(site)
    assert referred(found, Role.CLUSTER) == {(KEY, "other")}
    assert doubts(found) == []


def test_images_that_another_cluster_names_stay(site: Site) -> None:
    digests = [f"sha256:{n * 64}" for n in "1234"]
    text = STATUS % KEY + (
        f"  image: registry/default@{digests[0]}\n"
        f"  tasks:\n  - {{task: build, key: {OTHER}, phase: Running}}\n"
        "  history:\n"
        f"  - {{task: train, key: {'c' * 40}, phase: Succeeded, image: r/d@{digests[1]}}}\n"
        f"  - {{task: build, key: {'d' * 40}, phase: Succeeded, image: r/d@{digests[2]}}}\n"
        f"  - {{task: build, key: {'e' * 40}, phase: Succeeded, image: r/d@{digests[3]},\n"
        "      collected: 2026-01-01T00:00:00Z}\n"
    )
    files = {"sync.yaml": SYNC % "other", "default/models/there.yaml": text}
    on_branch(site, "reconciler/status/other", files)
    names = {name for name, _ in referred(read(site), Role.CLUSTER)}
    assert names == {KEY, OTHER, "d" * 40, *digests[:3]}


def test_a_digest_in_a_manifest_stays(site: Site) -> None:
    digest = f"sha256:{'7' * 64}"
    site.write("elsewhere/prod.yaml", f"ref: registry/default@{digest}\n")
    site.push()
    assert referred(read(site), Role.PIN) == {(digest, "elsewhere/prod.yaml")}


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"sync.yaml": "{"}, "status branch of cluster other"),
        ({"sync.yaml": SYNC % "third"}, "it is of cluster third"),
        ({"sync.yaml": SYNC % "other", "default/models/there.yaml": "kind: [\n"}, "there.yaml"),
    ],
)
def test_another_clusters_status_that_cannot_be_read_is_a_doubt(
    site: Site, files: dict[str, str], told: str
) -> None:
    on_branch(site, "reconciler/status/other", files)
    (doubt,) = doubts(read(site))
    assert told in doubt


def test_a_key_in_any_manifest_at_head_is_a_pin(site: Site) -> None:
    site.write("elsewhere/prod.yaml", f"spec: {{source: {{model: {{key: {KEY}}}}}}}\nbroken: [\n")
    site.write("elsewhere/long.yaml", f"a: {OTHER}b\n")
    site.push()
    assert referred(read(site), Role.PIN) == {(KEY, "elsewhere/prod.yaml")}


def test_a_head_that_is_not_synced_yet_is_a_doubt(site: Site) -> None:
    before = git(site.work, "rev-parse", "origin/main").strip()
    site.push("Another")
    git(site.work, "update-ref", "refs/remotes/origin/main", before)
    (doubt,) = doubts(read(site))
    assert "is newer than what was synced" in doubt


def test_a_remote_that_does_not_answer_is_a_doubt(site: Site) -> None:
    site.remote.rename(site.remote.with_name("gone.git"))
    (doubt,) = doubts(read(site))
    assert "list of branches" in doubt


def test_a_conflict_hides_what_a_pull_request_asks_for() -> None:
    asked = AskedKeys.of(Conflict(("m.yaml",)))
    assert asked.keys == frozenset[TaskKey]()
    assert asked.doubt is not None
    assert asked.doubt.code is ReasonCode.COLLECTION_CONFLICT


async def test_a_commit_that_is_fetched_and_not_planned_yet_is_a_doubt(site: Site) -> None:
    asked: list[Commit] = []

    def heads(state: DaemonState) -> Found:
        asked.append(state.head)
        return Found()

    plan = World().plan()
    state = PlanState(
        records={}, ledger=Ledger(), runs={}, capacity=Capacity(containers=False), now=NOW
    )
    store = StatusStore(
        status_branch_at(site.root / "status.git", site.remote.as_uri()),
        cluster="local",
        instance="default",
        path="",
    )
    await Retention(
        RetentionSources(
            policy=RetentionPolicy(enabled=True),
            own=OwnCluster(cluster="local"),
            places=ArtifactPlaces(),
            heads=heads,
        ),
        store,
        Metrics(),
        plan=lambda: plan,
        state=lambda: DaemonState(head=Commit("f" * 40), state=state),
        replan=lambda: None,
    ).collect()
    assert asked == [plan.inputs.head]  # so that the look at the heads finds a newer one
