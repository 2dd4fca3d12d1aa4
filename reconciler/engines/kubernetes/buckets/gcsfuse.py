"""Google Cloud Storage by inline volumes of the Cloud Storage FUSE driver.

Each directory is a mount of its own with ``only-dir``, so that a pod sees of a bucket what it is to
see. The driver adds a sidecar to pods with its annotation, and needs no privilege.

A link is an object of no bytes with its target beside it, which gcsfuse alone reads as a link. A
folder is renamed object by object, but in a bucket with a hierarchical namespace; so may be a file,
by a copy.
"""

from __future__ import annotations

from reconciler.engines.kubernetes.buckets.interface import DIRECT_NEEDS, Directory, Driver, Mount
from reconciler.engines.kubernetes.pod_parts import Fragment, refuse

#: Objects have no owner: whatever user an image runs as may write. Directories made by other
#: programs have no object of their own; they are there nevertheless. Folders are renamed up to a
#: limit of what is in them, 0 by default: this is that of gcsfuse's own profile for checkpoints.
_OPTIONS = ("implicit-dirs", "file-mode=666", "dir-mode=777", "rename-dir-limit=200000")


def mount(directory: Directory) -> Mount:
    """Mount a directory as an inline volume.

    Raises RenderError for a path that a mount option cannot hold.
    """
    if "," in directory.path:
        raise refuse(f"{directory.url} has a comma, which gcsfuse reads as the next option")
    bucket = directory.bucket
    options = [f"only-dir={directory.path}", *_OPTIONS, *bucket.mount_options]
    volume = {
        "name": directory.name,
        "csi": {
            "driver": "gcsfuse.csi.storage.gke.io",
            "readOnly": directory.read_only,
            "volumeAttributes": {
                **bucket.attributes,
                "bucketName": bucket.container,
                "mountOptions": ",".join(options),
            },
        },
    }
    return Mount(
        volume=directory.name,
        fragment=Fragment(volumes=(volume,), annotations={"gke-gcsfuse/volumes": "true"}),
    )


DRIVER = Driver(
    name="gcsfuse",
    scheme="gs",
    can=DIRECT_NEEDS,
    takes=frozenset({"mountOptions", "attributes"}),
    mount=mount,
)
