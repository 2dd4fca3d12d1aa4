"""A bucket as a PersistentVolume that is bound by name.

It is for CSI drivers with no inline volumes.

One per bucket and namespace, since a volume has one claim and a claim one namespace. Its name is a
hash of all that it says: neither object can be changed once it is made, so another configuration
has another name, and pods that run keep theirs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from reconciler.engines.kubernetes.buckets.interface import Directory, Mount
from reconciler.engines.kubernetes.pod_parts import MANAGED_BY, ApiObject, Fragment
from reconciler.types import GROUP

#: Asked for because the API wants a number; buckets have no size, and drivers ignore it.
_CAPACITY = "1Pi"
_ACCESS = ["ReadWriteMany"]


def static_mount(
    directory: Directory,
    *,
    driver: str,
    attributes: Mapping[str, str],
    options: Sequence[str],
    node_secret: str | None = None,
) -> Mount:
    """The volume, its claim, and the directory as a subPath of it."""
    source: ApiObject = {"driver": driver, "volumeAttributes": dict(attributes)}
    if node_secret is not None:
        source["nodeStageSecretRef"] = {"name": node_secret, "namespace": directory.namespace}
    content = [directory.instance, directory.namespace, source, list(options)]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    name = f"reconciler-{digest[:16]}"
    labels = {
        MANAGED_BY: "reconciler",
        f"{GROUP}/instance": directory.instance,
    }
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "accessModes": _ACCESS,
            "capacity": {"storage": _CAPACITY},
            "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": directory.namespace,
                "name": name,
            },
            "mountOptions": list(options),
            "csi": {**source, "volumeHandle": name},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": directory.namespace, "labels": labels},
        "spec": {
            "accessModes": _ACCESS,
            "storageClassName": "",
            "volumeName": name,
            "resources": {"requests": {"storage": _CAPACITY}},
        },
    }
    pod_volume = {"name": name, "persistentVolumeClaim": {"claimName": name}}
    return Mount(
        volume=name,
        fragment=Fragment(volumes=(pod_volume,), objects=(volume, claim)),
        sub_path=directory.path,
    )
