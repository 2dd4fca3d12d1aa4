"""What the tests' programs are built from: Go modules, so that checksums guard every byte.

The package proxy is the only thing needed from outside: no container engine, no release archives.
One program is of Rust, a crate of ``rust/`` whose lock does the same.
``go/kubernetes/go.mod`` replaces the staging modules by their published versions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal[
    "control-plane",
    "node",
    "helm",
    "queue",
    "queue-node",
    "gitea",
    "gcs-node",
    "mountpoint-node",
    "policy-node",
    "gitops-engine",
]

_KUBERNETES = "v1.37.2"
_STAMP = (
    f"-X k8s.io/component-base/version.gitVersion={_KUBERNETES}"
    " -X k8s.io/component-base/version.gitMajor=1"
    " -X k8s.io/component-base/version.gitMinor=37"
)


@dataclass(frozen=True)
class Program:
    """One binary: its Go package, and what the linker is told."""

    name: str
    package: str
    tags: str = ""
    ldflags: str = ""


@dataclass(frozen=True)
class Module:
    """A folder of ``go/`` with its go.mod and go.sum, and the programs taken from it.

    ``minutes`` is what the programs took on two cores with nothing cached. ``cgo``: they need a C
    compiler. ``data`` are folders of the Go module ``source``, which are laid beside the programs
    that read them. ``crate``: it is a folder of ``rust/`` with one program, built by Cargo.
    """

    folder: str
    minutes: float
    programs: tuple[Program, ...]
    cgo: bool = False
    source: str = ""
    data: tuple[str, ...] = ()
    crate: bool = False


def _kubernetes(name: str) -> Program:
    return Program(name, f"k8s.io/kubernetes/cmd/{name}", ldflags=_STAMP)


def _containerd(name: str, tags: str = "") -> Program:
    return Program(name, f"github.com/containerd/containerd/v2/cmd/{name}", tags)


def _cni(name: str) -> Program:
    return Program(
        name.rpartition("/")[2], f"github.com/containernetworking/plugins/plugins/{name}"
    )


CONTROL_PLANE = Module(
    "kubernetes",
    8,
    (
        Program("etcd", "go.etcd.io/etcd/server/v3"),
        _kubernetes("kube-apiserver"),
        _kubernetes("kube-controller-manager"),
        _kubernetes("kube-scheduler"),
        _kubernetes("kubectl"),
    ),
)

_NODE = (
    Module("kubernetes", 0.5, (_kubernetes("kubelet"),)),
    Module(
        "containerd",
        1,
        (
            # Without these drivers nothing needs cgo, and nothing is lost: the node uses overlayfs.
            _containerd("containerd", "no_btrfs no_devmapper no_zfs no_aufs"),
            _containerd("containerd-shim-runc-v2", "no_grpc"),
            _containerd("ctr"),
        ),
    ),
    Module("cni", 0.2, tuple(map(_cni, ("main/bridge", "main/loopback", "ipam/host-local")))),
    Module(
        "registry",
        1.5,
        (Program("registry", "github.com/distribution/distribution/v3/cmd/registry"),),
    ),
    Module(
        "buildkit",
        2,
        tuple(
            Program(name, f"github.com/moby/buildkit/cmd/{name}")
            for name in ("buildctl", "buildkitd")
        ),
    ),
    Module(
        "rootlesskit",
        0.5,
        (Program("rootlesskit", "github.com/rootless-containers/rootlesskit/v2/cmd/rootlesskit"),),
    ),
    Module("coredns", 2.5, (Program("coredns", "."),)),
    Module("rclone", 3.5, (Program("rclone", "github.com/rclone/rclone"),)),
)


#: For ``make test-chart`` alone.
_HELM = Module("helm", 4, (Program("helm", "helm.sh/helm/v4/cmd/helm"),))

#: For ``make test-kueue`` alone.
_KUEUE = Module(
    "kueue",
    4,
    (Program("kueue", "sigs.k8s.io/kueue/cmd/kueue"),),
    source="sigs.k8s.io/kueue",
    data=("config",),
)
_DEVICE_PLUGIN = Module("deviceplugin", 0.2, (Program("device-plugin", "."),))
#: For ``make test-policies`` alone.
_KUBE_ROUTER = Module(
    "kuberouter",
    2,
    (Program("kube-router", "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"),),
)
#: For ``make test-gcsfuse`` alone.
_GCSFUSE = Module(
    "gcsfuse",
    3,
    (
        Program("gcsfuse", "github.com/googlecloudplatform/gcsfuse/v3"),
        Program("fake-gcs-server", "github.com/fsouza/fake-gcs-server"),
        Program("gcsfuse-csi", "."),
    ),
)
#: For ``make test-mountpoint`` alone. `rclone serve s3` refuses every write of Mountpoint.
_VERSITYGW = Module(
    "versitygw", 2.5, (Program("versitygw", "github.com/versity/versitygw/cmd/versitygw"),)
)
_S3_CSI = "github.com/awslabs/mountpoint-s3-csi-driver"
_S3_DRIVER = Module(
    "s3csi",
    2,
    (
        *(
            Program(f"aws-s3-csi-{part}", f"{_S3_CSI}/cmd/aws-s3-csi-{part}")
            for part in ("controller", "driver", "mounter")
        ),
        Program("s3-csi-registrar", "."),
    ),
    source=_S3_CSI,
    data=("charts/aws-mountpoint-s3-csi-driver/templates",),
)
_MOUNTPOINT = Module("mountpoint", 7.5, (Program("mountpoint", "."),), crate=True)
#: The newest version that builds under its own module path.
_GITEA = Module(
    "gitea",
    4,
    (Program("gitea", "code.gitea.io/gitea", "sqlite sqlite_unlock_notify"),),
    cgo=True,
    source="code.gitea.io/gitea",
    data=("options", "public", "templates"),
)

#: For ``make bench PARTS=argocd`` alone.
_GITOPS_ENGINE = Module(
    "gitopsengine", 3, (Program("agent", "github.com/argoproj/gitops-engine/agent"),)
)

_LEVELS: dict[Level, tuple[Module, ...]] = {
    "control-plane": (CONTROL_PLANE,),
    "node": (CONTROL_PLANE, *_NODE),
    "helm": (_HELM,),
    "queue": (CONTROL_PLANE, _KUEUE),
    "queue-node": (CONTROL_PLANE, *_NODE, _KUEUE, _DEVICE_PLUGIN),
    "gcs-node": (CONTROL_PLANE, *_NODE, _GCSFUSE),
    "mountpoint-node": (CONTROL_PLANE, *_NODE, _VERSITYGW, _S3_DRIVER, _MOUNTPOINT),
    "policy-node": (CONTROL_PLANE, *_NODE, _KUBE_ROUTER),
    "gitea": (_GITEA,),
    "gitops-engine": (_GITOPS_ENGINE,),
}


def modules(level: Level) -> tuple[Module, ...]:
    """What a cluster of this level is made of, in the order it is built; or one other program."""
    return _LEVELS[level]
