"""A node: containerd and kubelet in PID, mount and network namespaces of their own.

What was learned: ``cgroupDriver: cgroupfs`` and ``failCgroupV1: false`` for machines without
systemd or with the older cgroups; ``restrict_oom_score_adj`` where CAP_SYS_RESOURCE is missing
(messages about rlimits and oom scores are then harmless); ``cgroupRoot``, because a kubelet removes
the pods of any other kubelet that it finds beside its own.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.api import ApiError
from tests.cluster.control_plane import SERVICE, ControlPlane
from tests.cluster.machine import PATH, tool
from tests.cluster.mountpoint import Mountpoint
from tests.cluster.network import Network
from tests.cluster.node_init import HERE
from tests.cluster.process import Program

_ROOT = Path(__file__).parents[2]
#: The resource of a device plugin, and how many of it a node has, where there is the plugin.
GPU, GPUS = "nvidia.com/gpu", 2
_SOCKET = HERE / "containerd" / "socket"


class Node(Program):
    """Node ``number``, named ``node<number>``. Stopping it is pulling the plug."""

    def __init__(
        self,
        number: int,
        folder: Path,
        binaries: Mapping[str, Path],
        control_plane: ControlPlane,
        network: Network,
        registry: str,
        *,
        gcs: str = "",
        mountpoint: Mountpoint | None = None,
    ) -> None:
        self.number = number
        self._folder = folder
        self._binaries = binaries
        self._control_plane = control_plane
        self._network = network
        self._registry = registry
        plugin = binaries.get("device-plugin")
        self._plugin = [] if plugin is None else [str(plugin), GPU, str(GPUS)]
        self._gcs = gcs
        self._mountpoint = mountpoint
        # fmt: off
        super().__init__(
            f"node{number}",
            [tool("unshare"), "--pid", "--fork", "--kill-child", "--mount", "--mount-proc",
             "--propagation", "private", "--net", "--ipc", "--uts",
             sys.executable, "-m", "tests.cluster.node_init", folder / "spec.json"],
            log=folder / "logs" / "node.log",
            environment={"PATH": f"{binaries['containerd'].parent}:{PATH}",
                         "PYTHONPATH": str(_ROOT)},
            stop=signal.SIGKILL,
        )
        # fmt: on

    async def start(self, given: bytes | None = None) -> None:
        """Start it, and connect it. Ready is what `ready` says."""
        self._write()
        await super().start(given or b"")
        await self._network.attach(self.number, self)
        await self.tell(b"go\n")

    def ready(self) -> bool:
        """Whether pods can run on it."""
        try:
            node = self._control_plane.api.find(f"/api/v1/nodes/{self.name}")
        except (ApiError, OSError):
            return False
        if node is None or node["spec"].get("taints"):
            return False
        if self._plugin and node["status"]["allocatable"].get(GPU) != str(GPUS):
            return False
        conditions = node["status"].get("conditions", ())
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def cut(self) -> None:
        """Pull its network cable: what runs on it runs on, unseen."""
        self._network.disconnect(self.number)

    def mend(self) -> None:
        """Plug it in again."""
        self._network.connect(self.number)

    async def remove(self) -> None:
        """Stop it, and remove what is not a log."""
        await self.stop()
        for part in ("containerd", "kubelet", "cni", "pods"):
            shutil.rmtree(self._folder / part, ignore_errors=True)

    def _write(self) -> None:
        folder = self._folder
        (folder / "cni").mkdir(parents=True, exist_ok=True)
        (folder / "logs").mkdir(exist_ok=True)
        hosts = folder / "hosts" / self._registry
        hosts.mkdir(parents=True, exist_ok=True)
        (hosts / "hosts.toml").write_text(f'server = "http://{self._registry}"\n')
        (folder / "containerd.toml").write_text(self._containerd())
        (folder / "cni" / "10-bridge.conflist").write_text(json.dumps(self._cni()))
        (folder / "kubelet.json").write_text(json.dumps(self._kubelet(), indent=1))
        (folder / "resolv.conf").write_text(f"nameserver {self._network.address}\n")
        address = self._network.node_address(self.number)
        kubeconfig = self._control_plane.user(
            self.name,
            self._control_plane.authority.issue(
                self.name, f"system:node:{self.name}", group="system:nodes", hosts=(address,)
            ),
        )
        spec = {
            "folder": str(folder),
            "logs": str(folder / "logs"),
            "socket": str(_SOCKET),
            "address": address,
            "host": self._network.address,
            "service": SERVICE,
            "port": self._control_plane.port,
            "containerd": [
                str(self._binaries["containerd"]),
                f"--config={HERE / 'containerd.toml'}",
            ],
            "kubelet": [
                str(self._binaries["kubelet"]),
                f"--config={HERE / 'kubelet.json'}",
                f"--kubeconfig={kubeconfig}",
                f"--hostname-override={self.name}",
                f"--root-dir={HERE / 'kubelet'}",
                f"--node-ip={address}",
                "--v=2",
            ],
            "device plugin": self._plugin,
            "csi driver": self._driver(),
            "network policies": self._policies(),
        }
        (folder / "spec.json").write_text(json.dumps(spec, indent=1))

    def _driver(self) -> list[str]:
        if self._mountpoint is not None:
            return self._mountpoint.plugin(self.name, HERE / "kubelet")
        return _gcsfuse(self._binaries, self.name, self._gcs) if self._gcs else []

    def _policies(self) -> list[str]:
        program = self._binaries.get("kube-router")
        if program is None:
            return []
        kubeconfig = f"--kubeconfig={self._control_plane.kubeconfig}"
        # It ends where its node is not there yet.
        waits = (
            f"until {self._binaries['kubectl']} {kubeconfig} get node {self.name}; do sleep 1; done"
        )
        # fmt: off
        return [
            "sh", "-c", f'{waits}; exec "$0" "$@"', str(program), kubeconfig,
            f"--hostname-override={self.name}", "--run-firewall=true", "--run-router=false",
            "--run-service-proxy=false", "--run-loadbalancer=false", "--health-port=0",
        ]
        # fmt: on

    def _containerd(self) -> str:
        return f"""\
version = 3
root = '{HERE}/containerd/root'
state = '/run/containerd'
[grpc]
  address = '{_SOCKET}'
[ttrpc]
  address = '{_SOCKET}.t'
[plugins.'io.containerd.internal.v1.opt']
  path = '{HERE}/containerd/opt'
[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = '{self._registry}/pause:latest'
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = '{HERE}/hosts'
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = '{tool("runc")}'
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['{self._binaries["bridge"].parent}']
    conf_dir = '{HERE}/cni'
"""

    def _cni(self) -> Mapping[str, object]:
        # No masquerading: this machine has a route to the pods.
        subnet = {"subnet": self._network.pods(self.number)}
        bridge = {
            "type": "bridge",
            "bridge": "pods",
            "isGateway": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "dataDir": "/run/ipam",
                "ranges": [[subnet]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
        return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]}

    def _kubelet(self) -> Mapping[str, object]:
        ca = str(self._control_plane.authority.ca.certificate)
        pki = Path(ca).parent
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self._network.node_address(self.number),
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": False},
                "x509": {"clientCAFile": ca},
            },
            "authorization": {"mode": "AlwaysAllow"},
            "tlsCertFile": str(pki / f"{self.name}.crt"),
            "tlsPrivateKeyFile": str(pki / f"{self.name}.key"),
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self._network.name}/{self.name}",
            "failSwapOn": False,
            "nodeLeaseDurationSeconds": 8,  # renewed four times as often
            "containerRuntimeEndpoint": f"unix://{_SOCKET}",
            "podLogsDir": str(HERE / "pods"),
            "volumePluginDir": str(HERE / "kubelet" / "plugins-exec"),
            "resolvConf": str(HERE / "resolv.conf"),
            "clusterDNS": [self._network.address],
            "clusterDomain": "cluster.local",
            # Nothing here is short of disk but the machine itself, and eviction is not the topic.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {
                "nodefs.available": "1%",
                "imagefs.available": "1%",
                "nodefs.inodesFree": "1%",
                "memory.available": "50Mi",
            },
        }


def _gcsfuse(binaries: Mapping[str, Path], node: str, gcs: str) -> list[str]:
    """The driver of Cloud Storage, on the server ``gcs``.

    Not all that gcsfuse asks of Google is known to that server: what cannot be done without is
    switched off.
    """
    # fmt: off
    return [
        "env", "GCE_METADATA_HOST=127.0.0.1:9",
        str(binaries["gcsfuse-csi"]), node, str(HERE / "kubelet"), str(binaries["gcsfuse"]),
        f"--custom-endpoint=http://{gcs}/storage/v1/", "--anonymous-access", "--enable-hns=false",
        "--enable-atomic-rename-object=false",
    ]
    # fmt: on
