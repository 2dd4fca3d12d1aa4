"""What a test holds of a running cluster."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.api import Api, Object
from tests.cluster.certificates import Pair
from tests.cluster.node_init import HERE
from tests.processes import run

Ask = Callable[..., Mapping[str, Any]]


@dataclass(frozen=True)
class Cluster:
    """An API server with its controllers and scheduler.

    ``api`` and ``kubectl`` are the admin. ``kubeconfig`` is a file of the same. The programs (etcd,
    apiserver, controllers, scheduler) can be stopped, started and frozen by a test that has the
    cluster to itself. ``folder/logs`` holds what they print.
    """

    folder: Path
    kubeconfig: Path
    server: str
    ca: Path
    api: Api
    binaries: Mapping[str, Path]
    ask: Ask

    @staticmethod
    def _common(
        folder: Path, ask: Ask, binaries: Mapping[str, Path], told: Mapping[str, Any]
    ) -> dict[str, Any]:
        admin = Pair(Path(told["admin"]["certificate"]), Path(told["admin"]["key"]))
        return {
            "folder": folder,
            "kubeconfig": Path(told["kubeconfig"]),
            "server": told["server"],
            "ca": Path(told["ca"]),
            "api": Api(told["server"], told["ca"], admin),
            "binaries": binaries,
            "ask": ask,
        }

    @classmethod
    def of(
        cls, folder: Path, ask: Ask, binaries: Mapping[str, Path], told: Mapping[str, Any]
    ) -> Cluster:
        return Cluster(**cls._common(folder, ask, binaries, told))

    def kubectl(self, *arguments: str, given: str | Object | None = None) -> str:
        """What kubectl prints; ``given`` is its standard input, for ``apply -f -``."""
        text = given if given is None or isinstance(given, str) else json.dumps(given)
        done = run(
            [self.binaries["kubectl"], "--kubeconfig", self.kubeconfig, *arguments],
            env=os.environ | {"KUBECACHEDIR": str(self.folder / "kubectl")},
            input=text or "",
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    # -- trouble, for tests that have the cluster to themselves ------------------------------

    def pids(self) -> Mapping[str, int]:
        """The processes that run now, by program."""
        pids: Mapping[str, int] = self.ask(do="pids")["pids"]
        return pids

    def stop(self, program: str) -> None:
        """End it as an administrator would, and see it gone."""
        self.ask(do="stop", program=program)

    def start(self, program: str) -> None:
        """Start it again, as it was started first. Ready is another matter: ask ``api``."""
        self.ask(do="start", program=program)

    def kill(self, program: str) -> None:
        """End it as a power cut would."""
        os.kill(self.pids()[program], signal.SIGKILL)

    def freeze(self, program: str) -> None:
        os.kill(self.pids()[program], signal.SIGSTOP)

    def thaw(self, program: str) -> None:
        os.kill(self.pids()[program], signal.SIGCONT)


@dataclass(frozen=True)
class S3:
    """An S3 server, spoken to by path-style requests over plain HTTP.

    ``folder`` is what it serves: the bucket is a folder in it, each object a file.
    """

    endpoint: str
    access_key: str
    secret_key: str
    bucket: str
    folder: Path


@dataclass(frozen=True)
class NodeCluster(Cluster):
    """A cluster on which pods run.

    Further programs: ``node1`` (kubelet, containerd and every container of it), ``node2`` (the
    same, but not started yet), ``registry``, ``s3`` and ``dns``. Stopping one is pulling its plug.

    ``address`` is this machine as tests, node and pods all see it: what a test serves to pods (a
    Git repository, say) listens there. ``registry`` is ``host:port``, plain HTTP, open to all.
    ``images`` are there already, by digest: busybox, python, rclone and buildkit.
    """

    address: str
    registry: str
    s3: S3
    images: Mapping[str, str]
    #: The URL of a server of Cloud Storage, where the node has a driver for it.
    gcs: str

    @property
    def configuration(self) -> dict[str, Any]:
        """What a reconciler.yaml says of it: its images, its registry, and its object store."""
        s3 = self.s3
        remote = (
            f":s3,provider=Rclone,endpoint='{s3.endpoint}',access_key_id={s3.access_key},"
            f"secret_access_key={s3.secret_key},force_path_style=true"
        )
        return {
            "engine": "kubernetes",
            "kubernetes": {
                "images": {
                    "wrapper": self.images["busybox"],
                    "buildkit": self.images["buildkit"],
                    "rclone": self.images["rclone"],
                },
            },
            "registry": {"url": f"{self.registry}/models", "insecure": True},
            "buckets": {
                "default": {"url": f"s3://{s3.bucket}", "driver": "rclone", "remote": remote},
            },
        }

    def trust(self, registry: str, ca: Path) -> None:
        """Let the nodes pull from ``registry`` (host:port), that ``ca`` vouches for."""
        server = f"https://{registry}"
        text = f'server = "{server}"\n[host."{server}"]\nca = "{ca}"\n'
        for node in ("node1", "node2"):
            hosts = self.folder / node / "hosts" / registry
            hosts.mkdir(parents=True, exist_ok=True)
            (hosts / "hosts.toml").write_text(text)

    def devices(self, node: str = "node1") -> Mapping[str, list[str]]:
        """The devices of each pod that has some, by ``namespace/pod``, as the kubelet tells them.

        By its pod resources API, on a cluster that has the device plugin.
        """
        socket = f"/proc/{self.pids()[node]}/root{HERE}/kubelet/pod-resources/kubelet.sock"
        done = run([self.binaries["device-plugin"], "list", socket])
        assert done.returncode == 0, done.stderr
        found: Mapping[str, list[str]] = json.loads(done.stdout)
        return found

    def cut(self, node: str) -> None:
        """Pull the node's network cable: its pods run on, and nobody hears of them."""
        self.ask(do="cut", program=node)

    def mend(self, node: str) -> None:
        """Plug it in again."""
        self.ask(do="mend", program=node)

    @classmethod
    def of(
        cls, folder: Path, ask: Ask, binaries: Mapping[str, Path], told: Mapping[str, Any]
    ) -> NodeCluster:
        s3 = told["s3"]
        return NodeCluster(
            **cls._common(folder, ask, binaries, told),
            address=told["address"],
            registry=told["registry"],
            s3=S3(**{**s3, "folder": Path(s3["folder"])}),
            images=told["images"],
            gcs=told["gcs"],
        )
