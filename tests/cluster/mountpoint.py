"""Mountpoint for S3 behind its own CSI driver: its objects, its image, its programs on the node.

The driver's node plugin and its controller run beside the kubelet, in place of a DaemonSet and a
Deployment. Each bucket is mounted by a pod that the controller makes, as in a cluster of a user.
Its binary's own crate is not published: ``rust/mountpoint`` has the flags that the driver and the
reconciler give, over the published crate that does all the work.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.cluster.control_plane import SERVICE, ControlPlane
from tests.cluster.images import Image
from tests.cluster.process import until

_DRIVER = "s3.csi.aws.com"
_NAMESPACE = "mount-s3"
_ACCOUNT = "s3-csi-driver"
_PRIORITY = "mount-s3-critical"
_TEMPLATES = Path("charts/aws-mountpoint-s3-csi-driver/templates")
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_ATTACHMENTS = "/apis/s3.csi.aws.com/v2beta/mountpoints3podattachments"
_DAY = 24 * 3600
#: Where both programs look for the API server's token, as in a pod.
_SECRETS = "/run/secrets/kubernetes.io/serviceaccount"
_START = """\
mkdir -p "$SECRETS" "$PLUGIN" && cp "$TOKEN" "$SECRETS/token" && cp "$CA" "$SECRETS/ca.crt"
rm -f "$PLUGIN/csi.sock"
{
    # A kubelet that finds no driver behind the socket does not ask again.
    until [ -S "$PLUGIN/csi.sock" ]; do sleep 0.1; done
    exec "$PROGRAMS/s3-csi-registrar" "$DRIVER" "$PLUGIN/csi.sock" "$KUBELET_PATH/plugins_registry"
} &
[ -z "$MOUNTPOINT_IMAGE" ] || "$PROGRAMS/aws-s3-csi-controller" &
exec "$PROGRAMS/aws-s3-csi-driver" --endpoint "unix:$PLUGIN/csi.sock" --v=4
"""
_FIRST_NODE = "node1"
#: The driver's account of the S3 server, which may do what a bucket's policy says.
ACCOUNT = "mountpoint"
_SECRET = "mountpoint-secret"


def write_accounts(folder: Path) -> Path:
    """Write what versitygw reads of its accounts to ``folder``."""
    folder.mkdir(exist_ok=True)
    account = {"access": ACCOUNT, "secret": _SECRET, "role": "user"}
    (folder / "users.json").write_text(json.dumps({"accessAccounts": {ACCOUNT: account}}))
    return folder


class Mountpoint:
    """The driver on ``control_plane``, which acts as `ACCOUNT`."""

    def __init__(
        self, folder: Path, binaries: Mapping[str, Path], control_plane: ControlPlane
    ) -> None:
        self._folder = folder / "mountpoint"
        self._binaries = binaries
        self._control_plane = control_plane
        self._image = ""

    async def start(self, registry: str) -> None:
        """Make its image and its objects; its programs start with their node."""
        self._image = self._push(registry)
        api = self._control_plane.api
        for path, document in self._objects():
            api.create(path, document)
        await until(lambda: api.answers(_ATTACHMENTS), "the driver's resource is served")
        accounts = f"/api/v1/namespaces/{_NAMESPACE}/serviceaccounts"
        asked = {"spec": {"expirationSeconds": _DAY}}
        token = api.create(f"{accounts}/{_ACCOUNT}/token", asked)["status"]["token"]
        self._folder.mkdir(exist_ok=True)
        (self._folder / "token").write_text(token)

    def plugin(self, node: str, kubelet: Path) -> list[str]:
        """The command of a node whose kubelet has its state in ``kubelet``."""
        plugin = kubelet / "plugins" / _DRIVER
        environment = {
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "CA": str(self._control_plane.authority.ca.certificate),
            "CSI_NODE_NAME": node,
            "DRIVER": _DRIVER,
            "HOST_PLUGIN_DIR": f"{plugin}/",
            "KUBELET_PATH": str(kubelet),
            "KUBERNETES_SERVICE_HOST": SERVICE,
            "KUBERNETES_SERVICE_PORT": "443",
            "MOUNTER_KIND": "pod",
            # One controller is enough.
            "MOUNTPOINT_IMAGE": self._image if node == _FIRST_NODE else "",
            "MOUNTPOINT_IMAGE_PULL_POLICY": "IfNotPresent",
            "MOUNTPOINT_NAMESPACE": _NAMESPACE,
            "MOUNTPOINT_PRIORITY_CLASS_NAME": _PRIORITY,
            "MOUNTPOINT_VERSION": "0.11.0",
            "PLUGIN": str(plugin),
            "PROGRAMS": str(self._binaries["aws-s3-csi-driver"].parent),
            "SECRETS": _SECRETS,
            "TOKEN": str(self._folder / "token"),
        }
        return ["env", *(f"{k}={v}" for k, v in environment.items()), "sh", "-c", _START]

    def _push(self, registry: str) -> str:
        image = Image(
            command=(),
            entrypoint=("/bin/aws-s3-csi-mounter",),
            environment={"MOUNTPOINT_BIN_DIR": "/usr/bin"},
        ).busybox()
        image.program("/usr/bin/mount-s3", self._binaries["mountpoint"])
        image.file("/bin/aws-s3-csi-mounter", self._binaries["aws-s3-csi-mounter"])
        certificates = Path("/etc/ssl/certs/ca-certificates.crt")
        if certificates.exists():
            image.file(str(certificates), certificates)
        return image.push(registry, "mountpoint")

    def _objects(self) -> list[tuple[str, Mapping[str, Any]]]:
        restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
        rbac = "rbac.authorization.k8s.io"
        account = {"kind": "ServiceAccount", "name": _ACCOUNT, "namespace": _NAMESPACE}
        return [
            ("/api/v1/namespaces", {"metadata": {"name": _NAMESPACE, "labels": restricted}}),
            (
                f"/api/v1/namespaces/{_NAMESPACE}/serviceaccounts",
                {"metadata": {"name": _ACCOUNT}},
            ),
            (
                f"/apis/{rbac}/v1/clusterrolebindings",
                {
                    "metadata": {"name": _ACCOUNT},
                    "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "cluster-admin"},
                    "subjects": [account],
                },
            ),
            (
                "/apis/scheduling.k8s.io/v1/priorityclasses",
                {
                    "metadata": {"name": _PRIORITY},
                    "value": 1_000_000_000,
                    "preemptionPolicy": "Never",
                },
            ),
            (
                "/apis/storage.k8s.io/v1/csidrivers",
                {
                    "metadata": {"name": _DRIVER},
                    "spec": {
                        "attachRequired": False,
                        "podInfoOnMount": True,
                        "requiresRepublish": True,
                        "tokenRequests": [
                            {"audience": f"{name}.amazonaws.com", "expirationSeconds": 3600}
                            for name in ("sts", "pods.eks")
                        ],
                    },
                },
            ),
            (_CRDS, self._resource()),
        ]

    def _resource(self) -> Mapping[str, Any]:
        """Its own, out of its chart."""
        folder = self._binaries["aws-s3-csi-driver"].parent / _TEMPLATES
        lines = (folder / "mountpoints3podattachments-crd.yaml").read_text().splitlines()
        text = "\n".join(line for line in lines if not line.startswith("{{"))
        resource: Mapping[str, Any] = json.loads(json.dumps(YAML(typ="safe").load(text)))
        return resource
