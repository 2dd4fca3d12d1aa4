"""A site whose daemon runs Jobs in a namespace of a real API server.

There are no nodes: what a kubelet would say of a pod is written by the test, so that every turn a
Job can take is taken on demand, and the Job controller is the real one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.cluster.api import eventually
from tests.cluster.fixtures import Namespace
from tests.e2e.site import Site, environment, stop
from tests.patience import PATIENCE
from tests.processes import run

IMAGE = f"registry.test/base@sha256:{'0' * 64}"


class ClusterSite(Site):
    """``root`` as of a Site; manifests name an image, so that nothing must be built."""

    def __init__(self, root: Any, namespace: Namespace) -> None:
        self.namespace = namespace
        # Tests share a control plane: whoever looks everywhere must see its own alone.
        self.instance = namespace.name[-8:]
        super().__init__(root)

    def configure(self, **sections: Any) -> None:
        """As a Site's; ``kubernetes`` and others are merged over what a cluster needs."""
        config: dict[str, Any] = {
            "repository": {"url": "./manifests.git", "interval": "1s"},
            "status": {"interval": "0.2s"},
            "server": {"address": ""},
            "engine": "kubernetes",
            "kubernetes": {
                "namespace": self.namespace.name,
                "namespaces": [self.namespace.name],
                "instance": self.instance,
                "lease": "4s",
            },
            "registry": {"url": "registry.test/models"},
            "buckets": {"default": {"url": "file:///srv/models"}},
        }
        for name, section in sections.items():
            known = config.get(name, {})
            config[name] = {**known, **section} if isinstance(section, Mapping) else section
        # A first start would wait for an inventory.
        buckets = {n: {"inventory": False, **bucket} for n, bucket in config["buckets"].items()}
        config["buckets"] = buckets
        (self.root / "reconciler.yaml").write_text(json.dumps(config))

    def model(self, name: str, *, params: Mapping[str, Any] | None = None, more: str = "") -> None:
        """A Model that is trained from Scratch in an image that is there."""
        self.write(
            f"{name}.yaml",
            f"kind: Model\nmetadata: {{name: {name}}}\nspec:\n"
            f"  source: {{image: {{ref: '{IMAGE}'}}}}\n"
            f"  training:\n    mode: Scratch\n    params: {json.dumps(dict(params or {}))}\n{more}",
        )

    def push_model(self, name: str, **manifest: Any) -> None:
        """Write it, and push all that was written."""
        self.model(name, **manifest)
        self.push()

    # -- the daemon --------------------------------------------------------------------------

    def daemon(
        self, replica: str = "one", *, kubeconfig: Path | None = None
    ) -> subprocess.Popen[str]:
        """One replica, in the background; its log goes to ``<replica>.log``."""
        through = {} if kubeconfig is None else {"KUBECONFIG": str(kubeconfig)}
        state = {"RECONCILER_LOCAL__ROOT": str(self.root / f"state-{replica}")}
        with (self.root / f"{replica}.log").open("a") as log:
            return subprocess.Popen(
                self.command("run"),
                stdout=log,
                stderr=log,
                text=True,
                env={**self.environment(), **state, **through, "POD_NAME": replica},
            )

    def environment(self) -> dict[str, str]:
        place = {"POD_NAMESPACE": self.namespace.name}
        return {**environment(), "KUBECONFIG": str(self.namespace.cluster.kubeconfig), **place}

    def log_of(self, replica: str = "one") -> str:
        file = self.root / f"{replica}.log"
        return file.read_text() if file.exists() else ""

    def squatter(self, name: str) -> Any:
        """Somebody else's Job, which has the name that the training of an object at HEAD has."""
        command = self.command("render", name, "--repo", str(self.work), "--task", "train")
        done = run(command, env=self.environment())
        assert done.returncode == 0, done.stderr
        rendered = YAML(typ="safe").load_all(done.stdout)
        (ours,) = [each["metadata"]["name"] for each in rendered if each["kind"] == "Job"]
        pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
        theirs = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": ours, "labels": {"app": "theirs"}},
            "spec": {"suspend": True, "template": {"spec": pod}},
        }
        return self.namespace.cluster.api.create(self.namespace.jobs, theirs)

    # -- the cluster -------------------------------------------------------------------------

    def jobs(self) -> dict[str, Any]:
        """The Jobs that are not being deleted, by the name of their object."""
        found = {}
        for job in self.namespace.cluster.api.items(self.namespace.jobs):
            if "deletionTimestamp" not in job["metadata"]:
                name = job["metadata"]["labels"].get("substratus.ai/name", "")
                assert name not in found, f"two Jobs of {name}"
                found[name] = job
        return found

    def job(self, name: str, *, other_than: str = "") -> Any:
        """The Job of an object, once it is there; another one than that of a UID."""
        return eventually(
            lambda: next(
                (j for n, j in self.jobs().items() if n == name and uid(j) != other_than), None
            ),
            f"the Job of {name}",
            seconds=PATIENCE,
        )

    def kubelet(self, job: Any, status: Mapping[str, Any]) -> None:
        """Say of a Job's newest pod what its kubelet would."""

        def newest() -> Any:
            pods = [
                pod
                for pod in self.namespace.cluster.api.items(self.namespace.pods)
                if any(o["uid"] == uid(job) for o in pod["metadata"].get("ownerReferences", []))
                and pod["status"].get("phase") in ("Pending", "Running")
            ]
            return max(pods, key=lambda p: str(p["metadata"]["creationTimestamp"]), default=None)

        pod = eventually(newest, "the Job's pod")
        path = f"{self.namespace.pods}/{pod['metadata']['name']}/status"
        self.namespace.cluster.api.request("PATCH", path, {"status": status})

    def kubelets(self, **statuses: Mapping[str, Any]) -> None:
        """The same, of the Jobs of several objects."""
        for name, status in statuses.items():
            self.kubelet(self.job(name), status)

    def head_of_status(self) -> str:
        done = run(["git", "-C", str(self.remote), "rev-parse", self.branch], env=dict(os.environ))
        return done.stdout.strip()


def uid(job: Any) -> str:
    found: str = job["metadata"]["uid"]
    return found


@contextmanager
def daemon(
    site: ClusterSite, replica: str = "one", *, kubeconfig: Path | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A replica for as long as the block, at whose end it must end well."""
    process = site.daemon(replica, kubeconfig=kubeconfig)
    try:
        yield process
        assert stop(process) == 0, site.log_of(replica)
        assert "Traceback" not in site.log_of(replica)
    finally:
        process.send_signal(signal.SIGCONT)
        stop(process, signal.SIGKILL)
