"""A folder of the node, the bucket of a one-node cluster.

Every pod sees the same disk there.
"""

from __future__ import annotations

import hashlib

from reconciler.engines.kubernetes.buckets.interface import FILE_SYSTEM, Directory, Driver, Mount
from reconciler.engines.kubernetes.pod_parts import Fragment, refuse


def mount(directory: Directory) -> Mount:
    """Mount a directory as a subPath of its bucket's folder.

    A run may leave a symbolic link in its artifact. As the path of a volume such a link would lead
    to any folder of the node; in a subPath the kubelet follows none out of the volume. It makes
    both if need be, for root to write. The bucket is one volume, however many of its directories
    the pod has.
    """
    if directory.bucket.container not in ("", "localhost"):
        raise refuse(f"{directory.url} names a host; expected file:///path")
    root = directory.bucket.folder or directory.path
    name = f"bucket-{hashlib.sha256(root.encode()).hexdigest()[:16]}"
    volume = {"name": name, "hostPath": {"path": f"/{root}", "type": "DirectoryOrCreate"}}
    inside = directory.path.removeprefix(root).strip("/")
    return Mount(volume=name, fragment=Fragment(volumes=(volume,)), sub_path=inside)


DRIVER = Driver(
    name="hostpath",
    scheme="file",
    can=FILE_SYSTEM,
    takes=frozenset(),
    mount=mount,
)
