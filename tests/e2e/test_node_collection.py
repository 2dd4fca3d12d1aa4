"""Jobs collect in a bucket that pods alone can reach, on a node: hide, restore, remove."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from reconciler.status import CollectionReport, CollectionStep, read_collection
from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.e2e import cluster_site
from tests.e2e.node_site import NodeSite, daemon, hostpath, program, until
from tests.e2e.rclone_bucket import rclone_bucket
from tests.e2e.site import git, stop
from tests.e2e.test_node_security import claim, enforce
from tests.processes import run

MARKER, HIDDEN = "completed.json", ".reconciler-collected.json"
#: It leaves what only its own user, or root with its capabilities, can remove.
TRAIN = """
import os
folder = os.environ["MODEL_DIR"] + "/private"
os.makedirs(folder, exist_ok=True)
open(folder + "/weights", "w").write(os.environ["PARAM_EPOCHS"])
if os.getuid() == 0:
    for each in (folder + "/weights", folder):
        os.chown(each, 1000, 1000)
    os.chmod(folder, 0o1700)
"""


class CollectedSite(NodeSite):
    """One Model, trained with different epochs, and a policy."""

    def policy(self, **given: Any) -> None:
        base = {"enabled": True, "keep": 1, "days": 0, "grace": "7d", "maxShare": 1.0}
        self.configure(retention=base | given)

    def epochs(self, *each: int) -> None:
        """Train with these, one after the other."""
        for number in each:
            program(self, "m", TRAIN, params={"epochs": number})
            self.push()
            until(
                partial(self.is_ready, number),
                what=f"the training with {number} epochs to be Ready",
            )

    def is_ready(self, epochs: int) -> bool:
        """Whether the Model is Ready with the artifact of these epochs."""
        status = self.statuses().get("m", {"phase": ""})
        entries = status.get("history", ())
        made = [e for e in entries if "artifact" in e and e["params"]["epochs"] == epochs]
        ready = status["phase"] == "Ready" and bool(made)
        return ready and bool(status["artifact"]["key"] == made[-1]["key"])

    def folder(self, epochs: int) -> Path:
        entries = self.statuses()["m"]["history"]
        (url,) = {
            entry["artifact"]
            for entry in entries
            if "artifact" in entry and entry["params"]["epochs"] == epochs
        }
        return Path(url.removeprefix("file://"))

    def state(self, epochs: int) -> str:
        """The name of an artifact's marker."""
        folder = self.folder(epochs)
        return next((name for name in (MARKER, HIDDEN) if (folder / name).exists()), "")

    def states(self, *epochs: int) -> list[str]:
        return [self.state(each) for each in epochs]

    def entry(self, epochs: int) -> dict[str, Any]:
        entries = self.statuses()["m"]["history"]
        return next(e for e in reversed(entries) if e["params"]["epochs"] == epochs)

    def attempts(self, epochs: int) -> int:
        return len(list((self.folder(epochs) / "logs").iterdir()))

    def report(self) -> CollectionReport:
        names = git(self.remote, "ls-tree", "--name-only", self.branch).split()
        if "collection.json" not in names:
            return CollectionReport()
        found = read_collection(self.show("collection.json").encode())
        assert found is not None
        return found

    def collecting(self) -> bool:
        api = self.namespace.cluster.api
        labels = (job["metadata"]["labels"] for job in api.items(self.namespace.jobs))
        return any(each.get("substratus.ai/task") == "collect" for each in labels)


@pytest.fixture
def site(tmp_path: Path, node_namespace: Namespace, node_cluster: NodeCluster) -> CollectedSite:
    return CollectedSite(tmp_path, node_namespace, node_cluster, hostpath(tmp_path))


@pytest.mark.timeout(900)
def test_jobs_hide_restore_and_remove_where_the_daemon_cannot(site: CollectedSite) -> None:
    try:
        with cluster_site.daemon(site, "train"):
            site.epochs(1, 2, 3)
        assert not site.report().artifacts, "nothing is asked of a bucket without a policy"

        # By default it is only told what would go.
        site.policy(enabled=False)
        with cluster_site.daemon(site, "report"):
            until(lambda: site.report().artifacts, what="the report")
        steps = [entry.step for entry in site.report().artifacts]
        assert steps == [CollectionStep.HIDE] * 2 + [CollectionStep.KEEP]
        assert all(entry.size == 1 for entry in site.report().artifacts)
        assert site.states(1, 2, 3) == [MARKER] * 3

        # A daemon that is killed in the midst: its Job goes on, and the next daemon learns of it.
        site.policy()
        killed = site.daemon("killed")
        until(site.collecting, what="the Job of a collection")
        stop(killed, signal.SIGKILL)
        with cluster_site.daemon(site, "collect"):
            until(lambda: site.states(1, 2, 3) == [HIDDEN, HIDDEN, MARKER], what="two to be hidden")
            until(lambda: "hidden" in site.entry(1), what="the record")
            until(lambda: not site.collecting(), what="the Job to be gone")

            # A revert restores, and runs nothing.
            program(site, "m", TRAIN, params={"epochs": 1})
            site.push()
            until(lambda: site.is_ready(1), what="the first to be Ready again")
            assert site.states(1, 2, 3) == [MARKER, HIDDEN, MARKER]
            assert "hidden" not in site.entry(1)
        assert site.attempts(1) == 1

        # Where the bucket is not mounted, nothing is gone.
        bucket = Path(site.bucket["url"].removeprefix("file://"))
        bucket.rename(bucket.with_name("elsewhere"))
        bucket.mkdir(mode=0o777)
        site.policy(grace="0.001s")
        with cluster_site.daemon(site, "unmounted"):
            until(lambda: site.report().withheld, what="the doubt")
        assert "mounted" in site.report().withheld[0].message
        assert not any("collected" in site.entry(each) for each in (1, 2, 3))
        for folder in sorted(bucket.rglob("*"), reverse=True):
            folder.rmdir()
        bucket.rmdir()
        bucket.with_name("elsewhere").rename(bucket)

        # After the grace time what is hidden is removed, whoever may read it.
        with cluster_site.daemon(site, "remove"):
            until(lambda: "collected" in site.entry(2), what="the second to be removed")
            until(lambda: site.state(3) == HIDDEN, what="the third to be hidden")
        gone = site.entry(2)["artifact"].removeprefix("file://")
        assert not Path(gone).exists()
        assert site.state(1) == MARKER

        # A user takes one back, by a Job too; another has nothing to take back any more.
        undo = ("artifacts", "--undo")
        done = run(site.command(*undo, site.folder(3).name), env=site.environment())
        assert done.returncode == 0, done.stderr
        assert "is complete again" in done.stdout
        assert site.state(3) == MARKER
        done = run(site.command(*undo, site.folder(2).name), env=site.environment())
        assert done.returncode == 1

        # What was removed is made anew.
        site.policy()
        with daemon(site, "again"):
            program(site, "m", TRAIN, params={"epochs": 2})
            site.push()
            until(
                lambda: Path(gone, MARKER).exists() and site.is_ready(2),
                what="the second to be made anew",
            )
    finally:
        site.forge.close()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("driver", ["pvc", "rclone"])
def test_so_they_do_on_a_claim_and_behind_rclone(
    tmp_path: Path, node_namespace: Namespace, node_cluster: NodeCluster, driver: str
) -> None:
    if driver == "pvc":
        enforce(node_namespace, "baseline")
        bucket, root = claim(node_namespace, tmp_path / "bucket"), tmp_path / "bucket"
    else:
        # By a scheme for which the daemon has no credentials, whatever is in its environment.
        bucket = rclone_bucket(node_cluster, node_namespace, sync="5s")
        bucket["url"] = bucket["url"].replace("s3://", "store://")
        root = node_cluster.s3.folder / node_cluster.s3.bucket / node_namespace.name
    site = CollectedSite(tmp_path, node_namespace, node_cluster, bucket)

    def folders() -> dict[str, str]:
        """The markers in the bucket, by the weights beside them."""
        found = {path.read_text(): path.parent.parent for path in root.rglob("weights")}
        return {
            text: next((name for name in (MARKER, HIDDEN) if (folder / name).exists()), "")
            for text, folder in found.items()
        }

    try:
        with cluster_site.daemon(site, "train"):
            site.epochs(1, 2)
        assert folders() == {"1": MARKER, "2": MARKER}
        site.policy()
        with cluster_site.daemon(site, "collect"):
            until(lambda: folders() == {"1": HIDDEN, "2": MARKER}, what="the first to be hidden")
            until(lambda: "hidden" in site.entry(1), what="the record")
            program(site, "m", TRAIN, params={"epochs": 1})
            site.push()
            until(partial(site.is_ready, 1), what="the first to be Ready again")
            assert folders() == {"1": MARKER, "2": MARKER}
        with cluster_site.daemon(site, "hide"):
            until(lambda: "hidden" in site.entry(2), what="the record")
            until(lambda: folders() == {"1": MARKER, "2": HIDDEN}, what="the second to be hidden")
        site.policy(grace="0.001s")
        with daemon(site, "remove"):
            until(lambda: "collected" in site.entry(2), what="the second to be removed")
        assert folders() == {"1": MARKER}
        assert site.entry(2)["artifact"].rstrip("/").rpartition("/")[2] not in {
            path.name for path in root.rglob("*") if any(path.iterdir() if path.is_dir() else ())
        }
    finally:
        site.forge.close()
