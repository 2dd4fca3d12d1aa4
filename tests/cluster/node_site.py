"""A cluster on which pods run: network, control plane, registry, S3 server, DNS and nodes."""

from __future__ import annotations

import http.client
import itertools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.cluster import cgroups, machine, mountpoint, stock
from tests.cluster.control_plane import ControlPlane
from tests.cluster.mountpoint import Mountpoint
from tests.cluster.network import Network, abandoned
from tests.cluster.node import Node
from tests.cluster.ports import free
from tests.cluster.process import Program, until

_BUCKET = "artifacts"
_KEYS = ("test-access-key", "test-secret-key")

_REGISTRY = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}, delete: {{enabled: true}}}}
http: {{addr: "{address}"}}
"""

#: Its volumes are those that pods name themselves.
_GCSFUSE = {
    "metadata": {"name": "gcsfuse.csi.storage.gke.io"},
    "spec": {"attachRequired": False, "volumeLifecycleModes": ["Ephemeral"]},
}

_DNS = """\
cluster.local:53 {{
    bind {address}
    errors
    kubernetes cluster.local {{
        kubeconfig {kubeconfig}
    }}
}}
"""


class NodeSite:
    """Runs in ``folder``. ``node1`` is started; ``node2`` is there for who starts it."""

    def __init__(
        self,
        folder: Path,
        binaries: Mapping[str, Path],
        *,
        audit: bool = False,
        gangs: bool = False,
    ) -> None:
        machine.check(folder)
        self.folder = folder
        self._binaries = binaries
        self.network = Network(folder)
        address = self.network.address
        self.control_plane = ControlPlane(
            folder, binaries, address=address, audit=audit, gangs=gangs
        )
        registry, s3, gcs = free(3)
        self.registry = f"{address}:{registry}"
        self.s3 = f"{address}:{s3}"
        self.gcs = f"{address}:{gcs}" if "fake-gcs-server" in binaries else ""
        self._stores = (self._registry(), self._s3(), *([self._gcs()] if self.gcs else []))
        self._dns = self._name_server()
        self._mountpoint = (
            Mountpoint(folder, binaries, self.control_plane) if "mountpoint" in binaries else None
        )
        self.nodes = tuple(
            Node(
                number,
                folder / f"node{number}",
                binaries,
                self.control_plane,
                self.network,
                self.registry,
                gcs=self.gcs,
                mountpoint=self._mountpoint,
            )
            for number in (1, 2)
        )
        self._images: Mapping[str, str] = {}

    @property
    def programs(self) -> tuple[Program, ...]:
        return (
            *self.network.programs,
            *self._stores,
            *self.control_plane.programs,
            self._dns,
            *self.nodes,
        )

    async def start(self) -> None:
        for name in itertools.chain(abandoned(), [self.network.name]):
            await cgroups.remove(name)  # what one that was killed left
        await self.network.start()
        for store in self._stores:
            await store.start()
        await self.control_plane.start()
        if self.gcs:
            self.control_plane.api.create("/apis/storage.k8s.io/v1/csidrivers", _GCSFUSE)
        if self._mountpoint is not None:
            await until(lambda: _listens(self.registry), "the registry is ready", *self._stores)
            await self._mountpoint.start(self.registry)
        await self._dns.start()
        for node in self.nodes:
            cgroups.make(self.network.name, node.name)
        first = self.nodes[0]
        await first.start()
        await until(lambda: _listens(self.registry), "the registry is ready", *self._stores)
        self._images = stock.push_all(self.registry, self._binaries)
        await until(first.ready, "the node is ready", first, self._dns, seconds=120)

    async def stop(self) -> None:
        for node in self.nodes:
            await node.remove()
        await self._dns.stop()
        await self.control_plane.stop()
        for store in reversed(self._stores):
            await store.stop()
        await self.network.stop()
        await cgroups.remove(self.network.name)
        for part in ("registry", "s3", "mountpoint"):
            shutil.rmtree(self.folder / part, ignore_errors=True)

    def describe(self) -> Mapping[str, Any]:
        return {
            **self.control_plane.describe(),
            "address": self.network.address,
            "registry": self.registry,
            "images": self._images,
            "gcs": f"http://{self.gcs}" if self.gcs else "",
            "s3": {
                "endpoint": f"http://{self.s3}",
                "access_key": _KEYS[0],
                "secret_key": _KEYS[1],
                "bucket": _BUCKET,
                "folder": str(self.folder / "s3"),
            },
        }

    def _registry(self) -> Program:
        config = self.folder / "registry.yaml"
        config.write_text(_REGISTRY.format(folder=self.folder / "registry", address=self.registry))
        return self._program("registry", self._binaries["registry"], "serve", str(config))

    def _s3(self) -> Program:
        folder = self.folder / "s3"
        (folder / _BUCKET).mkdir(parents=True, exist_ok=True)
        # fmt: off
        if "versitygw" in self._binaries:
            accounts = mountpoint.write_accounts(self.folder / "s3-accounts")
            return self._program(
                "s3", self._binaries["versitygw"], f"--access={_KEYS[0]}", f"--secret={_KEYS[1]}",
                f"--port={self.s3}", "--region=us-east-1", f"--iam-dir={accounts}",
                "posix", str(folder),
            )
        return self._program(
            "s3", self._binaries["rclone"], "--config=/dev/null", "serve", "s3",
            f"--addr={self.s3}", f"--auth-key={','.join(_KEYS)}", str(folder),
        )
        # fmt: on

    def _gcs(self) -> Program:
        host, _, port = self.gcs.partition(":")
        # fmt: off
        return self._program(
            "gcs", self._binaries["fake-gcs-server"], "-scheme=http", f"-host={host}",
            f"-port={port}", f"-public-host={self.gcs}", f"-external-url=http://{self.gcs}",
            "-backend=memory",  # its other one loses folders
        )
        # fmt: on

    def _name_server(self) -> Program:
        config = self.folder / "Corefile"
        config.write_text(
            _DNS.format(address=self.network.address, kubeconfig=self.control_plane.kubeconfig)
        )
        return self._program("dns", self._binaries["coredns"], f"-conf={config}")

    def _program(self, name: str, *command: str | Path) -> Program:
        return Program(name, command, log=self.folder / "logs" / f"{name}.log")


def _listens(address: str) -> bool:
    connection = http.client.HTTPConnection(address, timeout=2)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
