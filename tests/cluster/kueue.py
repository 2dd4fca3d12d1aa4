"""Kueue beside a control plane: its resources, its webhooks, its visibility API, its manager.

It is made to run in a pod. Here it is a process whose root is a folder of its own, because two of
its folders of certificates have fixed paths; and what would be reached by a Service is reached on
a loopback address: webhooks by a URL, the visibility API by a Service of type ExternalName.

Its only integration is ``batch/job``, so the webhooks of all other kinds of jobs are left out:
nobody would answer them, and their failure policy is Fail.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from ruamel.yaml import YAML

from tests.cluster.control_plane import ControlPlane
from tests.cluster.errors import ClusterUnavailable
from tests.cluster.kubeconfig import write_kubeconfig
from tests.cluster.machine import tool
from tests.cluster.ports import free
from tests.cluster.process import Program, until
from tests.processes import run

#: The kinds whose webhooks answer.
_ANSWERED = ("job", "clusterqueue", "cohort", "resourceflavor", "workload")
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_COLLECTIONS = {
    "Namespace": "/api/v1/namespaces",
    "CustomResourceDefinition": _CRDS,
    "Service": "/api/v1/namespaces/kueue-system/services",
    "APIService": "/apis/apiregistration.k8s.io/v1/apiservices",
    "MutatingWebhookConfiguration": (
        "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
    ),
    "ValidatingWebhookConfiguration": (
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    ),
}
_VISIBILITY = "kueue-visibility-server"


def check() -> None:
    """Raise `ClusterUnavailable` where Kueue's manager cannot have a root of its own."""
    if os.geteuid() != 0:
        raise ClusterUnavailable("Kueue's manager needs root: chroot to a folder of its own")


class Kueue(Program):
    """Kueue on ``control_plane``, as its program ``kueue``; ``binaries`` has its manifests too.

    The first start installs it; a later one starts the process alone.
    """

    def __init__(
        self, folder: Path, binaries: Mapping[str, Path], control_plane: ControlPlane
    ) -> None:
        check()
        self._folder = folder
        self._root = folder / "kueue"
        self._binaries = binaries
        self._control_plane = control_plane
        self._webhooks, self._visibility, self._health, metrics = free(4)
        self._ca = str(control_plane.authority.ca.certificate)
        config = {
            "apiVersion": "config.kueue.x-k8s.io/v1beta2",
            "kind": "Configuration",
            "namespace": "kueue-system",
            "health": {"healthProbeBindAddress": f"127.0.0.1:{self._health}"},
            "metrics": {"bindAddress": f"127.0.0.1:{metrics}"},
            "webhook": {"host": "127.0.0.1", "port": self._webhooks, "certDir": "/visibility"},
            "visibilityServer": {"bindAddress": "127.0.0.1", "bindPort": self._visibility},
            "leaderElection": {"leaderElect": False},
            "internalCertManagement": {"enable": False},
            "integrations": {"frameworks": ["batch/job"]},
            "clientConnection": {"qps": 50, "burst": 100},
        }
        for part in ("visibility", "etc/kueue/metrics/certs", "tmp"):
            (self._root / part).mkdir(parents=True, exist_ok=True)
        (self._root / "config.yaml").write_text(json.dumps(config))
        self._installed = False
        # fmt: off
        super().__init__(
            "kueue",
            [tool("chroot"), self._root, "/kueue", "--config=/config.yaml",
             "--kubeconfig=/kubeconfig", "--zap-log-level=2"],
            log=folder / "logs" / "kueue.log",
            environment={"KUBECONFIG": "/kubeconfig"},
        )
        # fmt: on

    async def start(self, given: bytes | None = None) -> None:
        """Until it admits Jobs, the first time. The control plane has to be up.

        Raises `ClusterFailed`.
        """
        if self._installed:
            await super().start(given)
            return
        self._fill_root()
        documents = list(self._manifests())
        webhooks = [d for d in documents if "Webhook" in d["kind"]]
        for document in documents:
            if document not in webhooks:
                self._create(document)
        await until(self._established, "Kueue's resources are there")
        await until(self._discovered, "Kueue's resources can be looked up")
        await super().start(given)
        await until(self._listens, "Kueue is ready", self)
        for document in webhooks:
            self._create(document)
        await until(self._tells_positions, "Kueue's visibility API is served", self)
        self._installed = True

    async def remove(self) -> None:
        """Stop it, and remove what is not a log."""
        await self.stop()
        shutil.rmtree(self._root, ignore_errors=True)

    def _fill_root(self) -> None:
        plane = self._control_plane
        serving = plane.authority.issue("kueue", "kueue", hosts=("127.0.0.1", "localhost"))
        for folder in ("visibility", "etc/kueue/metrics/certs"):
            shutil.copyfile(serving.certificate, self._root / folder / "tls.crt")
            shutil.copyfile(serving.key, self._root / folder / "tls.key")
        shutil.copy(self._binaries["kueue"], self._root / "kueue")
        write_kubeconfig(
            self._root / "kubeconfig",
            {"server": plane.server, "certificate-authority-data": _encoded(self._ca)},
            {
                "client-certificate-data": _encoded(plane.admin.certificate),
                "client-key-data": _encoded(plane.admin.key),
            },
        )

    def _manifests(self) -> Iterator[Any]:
        """Those of its own ``config/default`` that matter here, as they have to be here."""
        config = self._binaries["kueue"].parent / "config" / "default"
        done = run([self._binaries["kubectl"], "kustomize", config], check=True)
        for document in YAML(typ="safe").load_all(done.stdout):
            name = document["metadata"]["name"]
            match document["kind"]:
                case "Namespace" | "CustomResourceDefinition":
                    conversion = document.get("spec", {}).get("conversion", {}).get("webhook")
                    if conversion is not None:
                        conversion["clientConfig"] = self._client(conversion["clientConfig"])
                    yield document
                case "Service" if name == _VISIBILITY:
                    spec = {"type": "ExternalName", "externalName": "127.0.0.1"}
                    yield {**document, "spec": spec}
                case "APIService":
                    document["spec"]["service"]["port"] = self._visibility
                    yield document
                case "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration":
                    first = document["kind"][0].lower()
                    names = {f"{first}{kind}.kb.io" for kind in _ANSWERED}
                    hooks = [hook for hook in document["webhooks"] if hook["name"] in names]
                    for hook in hooks:
                        hook["clientConfig"] = self._client(hook["clientConfig"])
                    yield {**document, "webhooks": hooks}

    def _client(self, config: Mapping[str, Any]) -> Mapping[str, str]:
        path = config["service"].get("path", "/")
        url = f"https://127.0.0.1:{self._webhooks}{path}"
        return {"url": url, "caBundle": _encoded(self._ca)}

    def _create(self, document: Mapping[str, Any]) -> None:
        self._control_plane.api.create(_COLLECTIONS[document["kind"]], document)

    def _established(self) -> bool:
        return all(
            any(
                c["type"] == "Established" and c["status"] == "True"
                for c in crd.get("status", {}).get("conditions") or ()
            )
            for crd in self._control_plane.api.items(_CRDS)
        )

    def _discovered(self) -> bool:
        """Whether a client finds all, which takes a while longer; Kueue ends where it does not."""
        kubeconfig = f"--kubeconfig={self._control_plane.kubeconfig}"
        cached = os.environ | {"KUBECACHEDIR": str(self._folder / "kubectl")}
        kubectl = self._binaries["kubectl"]
        done = run([kubectl, kubeconfig, "api-resources", "--output=name"], env=cached)
        found = done.stdout.split()
        return all(crd["metadata"]["name"] in found for crd in self._control_plane.api.items(_CRDS))

    def _listens(self) -> bool:
        url = f"http://127.0.0.1:{self._health}/readyz"
        try:
            with urlopen(url, timeout=2) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def _tells_positions(self) -> bool:
        return self._control_plane.api.answers("/apis/visibility.kueue.x-k8s.io/v1beta2")


def _encoded(file: str | Path) -> str:
    return base64.b64encode(Path(file).read_bytes()).decode()
