"""A folder of the node, the bucket of a one-node cluster.

Every pod sees the same disk there.
"""

from __future__ import annotations

from reconciler.engines.kubernetes.buckets.interface import Directory, Driver, Mount, Writes
from reconciler.engines.kubernetes.pod_parts import Fragment, refuse


def mount(directory: Directory) -> Mount:
    """Mount exactly the directory.

    The kubelet makes it if need be, for root to write.
    """
    if directory.bucket.container not in ("", "localhost"):
        raise refuse(f"{directory.url} names a host; expected file:///path")
    volume = {
        "name": directory.name,
        "hostPath": {"path": f"/{directory.path}", "type": "DirectoryOrCreate"},
    }
    return Mount(volume=directory.name, fragment=Fragment(volumes=(volume,)))


DRIVER = Driver(
    name="hostpath",
    scheme="file",
    writes=(Writes.DIRECT, Writes.STAGED),
    takes=frozenset(),
    mount=mount,
)
