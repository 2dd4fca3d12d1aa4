"""A site on a cluster whose node runs pods, and what is put onto it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.cluster.ports import free
from tests.e2e import cluster_site
from tests.e2e.cluster_site import ClusterSite
from tests.e2e.site import git
from tests.e2e.site import until as until_sooner
from tests.git.remotes import HttpRemote
from tests.patience import PATIENCE


class NodeSite(ClusterSite):
    """A site whose pods run: sources are folders of the manifest repository, served over HTTP."""

    def __init__(
        self,
        root: Path,
        namespace: Namespace,
        cluster: NodeCluster,
        bucket: dict[str, Any],
        *,
        forge: HttpRemote | None = None,
    ) -> None:
        self.cluster = cluster
        self.bucket = bucket
        self.forge = forge or HttpRemote(root, address=cluster.address)
        super().__init__(root, namespace)
        git(self.remote, "config", "http.receivepack", "true")

    def configure(self, **sections: Any) -> None:
        theirs = self.cluster.configuration
        mine: dict[str, Any] = {
            "repository": {"url": self.forge.url("manifests.git")},
            "sources": {"allow": ["http://*"]},
            "kubernetes": {
                **theirs["kubernetes"],
                "namespace": self.namespace.name,
                "namespaces": [self.namespace.name],
                "lease": "30s",
            },
            "registry": theirs["registry"],
            "buckets": {"default": self.bucket},
        }
        for name, section in sections.items():
            mine[name] = {**mine.get(name, {}), **section}
        super().configure(**mine)

    def ready(self, name: str) -> dict[str, Any]:
        """The status of an object once it has ended, which must be well."""
        until(lambda: self.phases().get(name) in ("Ready", "Failed"), what=f"the end of {name}")
        status = self.statuses()[name]
        assert status["phase"] == "Ready", status
        return status

    def dockerfile(self, folder: str, script: str, text: str) -> None:
        self.write(f"{folder}/{script}", text, executable=True)
        self.write(
            f"{folder}/Dockerfile",
            f"FROM {self.cluster.images['python']}\nWORKDIR /app\nCOPY {script} .\n",
        )


def until(condition: Callable[[], object], *, what: str, patience: float = 2 * PATIENCE) -> None:
    """Wait for something on a node, where things take their time."""
    until_sooner(condition, what=what, patience=patience)


def hostpath(tmp_path: Path) -> dict[str, Any]:
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    bucket.chmod(0o777)
    return {"url": bucket.as_uri()}


def reports_server(root: Path, cluster: NodeCluster) -> dict[str, Any]:
    """The configuration of a server that pods report their progress to."""
    key = root / "progress-key"
    key.write_text("a-key-of-the-tests")
    key.chmod(0o600)
    address = f"{cluster.address}:{free(1)[0]}"
    return {"address": address, "progress": {"url": f"http://{address}", "keyFile": str(key)}}


def program(site: NodeSite, name: str, text: str, **training: Any) -> None:
    """A Model that is trained by a Python program in an image that is there."""
    section = {"mode": "Scratch", "command": ["python3", "-c", text], **training}
    image = training.pop("image", None) or site.cluster.images["python"]
    section.pop("image", None)
    spec = {"source": {"image": {"ref": image}}, "training": section}
    manifest = {"kind": "Model", "metadata": {"name": name}, "spec": spec}
    site.write(f"{name}.yaml", json.dumps(manifest))


@contextmanager
def daemon(site: NodeSite, replica: str = "one") -> Iterator[None]:
    """A replica for as long as the block, and the forge until then."""
    try:
        with cluster_site.daemon(site, replica):
            yield
    finally:
        site.forge.close()
