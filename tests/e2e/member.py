"""One of several clusters that share a repository: a daemon, a branch and a folder of its own.

The first makes the repository; the others are given it. Every daemon signs its status commits with
its own name, so that a test can tell who wrote what.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import IMAGE, ClusterSite
from tests.e2e.site import Site, environment, git
from tests.processes import run


class _Member(Site):
    """What every member is; ``first`` is the one whose repository is used."""

    cluster: str
    first: Site | None

    def __post_init__(self) -> None:
        self.root.mkdir(exist_ok=True)
        if self.first is None:
            super().__post_init__()
        else:
            self.remote, self.work = self.first.remote, self.first.work
            self.ledger = self.first.ledger
            self.configure()
        self.branch = f"reconciler/status/{self.cluster}"

    def configure(self, **sections: Any) -> None:
        super().configure(**sections)
        file = self.root / "reconciler.yaml"
        config = json.loads(file.read_text())
        config["cluster"] = self.cluster
        config["repository"] |= {"url": str(self.remote), "path": self.cluster}
        config["status"]["author"] = {"name": self.cluster}
        file.write_text(json.dumps(config))


class LocalMember(_Member):
    """A cluster of the local engine; manifests are in the folder named after it."""

    def __init__(self, root: Path, cluster: str, first: Site | None = None) -> None:
        self.cluster, self.first = cluster, first
        super().__init__(root)


class ClusterMember(_Member, ClusterSite):
    """A cluster with an API server of its own."""

    def __init__(
        self, root: Path, namespace: Namespace, cluster: str, first: Site | None = None
    ) -> None:
        self.cluster, self.first = cluster, first
        ClusterSite.__init__(self, root, namespace)

    def run_command(self, *arguments: str) -> str:
        """What a command that only looks prints."""
        done = run(self.command(*arguments), env=environment())
        assert done.returncode in (0, 2), done.stderr
        return done.stdout

    def base(self, name: str, *, epochs: int) -> None:
        """A Model of this cluster that is trained in an image that is there."""
        self._write(
            name,
            {"image": {"ref": IMAGE}},
            training={"mode": "Scratch", "params": {"epochs": epochs}},
        )

    def follower(self, name: str, base: str, of: str, **reference: str) -> None:
        """A Model of this cluster that is fine-tuned off one of another."""
        self._write(name, {"model": {"name": base, "cluster": of, **reference}}, training={})

    def promoted(self, name: str, base: str, of: str, **reference: str) -> None:
        """A Model of this cluster that takes over one of another."""
        source = {"model": {"name": base, "cluster": of, **reference}}
        self._write(name, source, load={"command": []})

    def _write(self, name: str, source: dict[str, Any], **spec: Any) -> None:
        namespace = {"namespace": self.namespace.name}
        manifest = {
            "kind": "Model",
            "metadata": {"name": name, **namespace},
            "spec": {"source": source, **spec},
        }
        self.write(f"{self.cluster}/{name}.yaml", json.dumps(manifest))


def authors(remote: Path, branch: str) -> set[str]:
    """Who made the commits of a branch."""
    return set(git(remote, "log", "--format=%an", branch).split("\n")) - {""}


def exists(remote: Path, branch: str) -> bool:
    done = subprocess.run(
        ["git", "-C", str(remote), "rev-parse", "--verify", "--quiet", branch],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0
