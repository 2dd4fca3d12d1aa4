"""Amazon S3 by the Mountpoint CSI driver.

The driver writes whole new objects and nothing else, so writes are staged.
"""

from __future__ import annotations

from reconciler.engines.kubernetes.buckets.interface import Directory, Driver, Mount
from reconciler.engines.kubernetes.buckets.static import static_mount

#: The wrapper replaces a file that has changed and removes one that is gone. The modes are for
#: images that run as another user than root.
_OPTIONS = ("allow-delete", "allow-overwrite", "allow-other", "file-mode=0666", "dir-mode=0777")


def mount(directory: Directory) -> Mount:
    """A static volume of the bucket."""
    bucket = directory.bucket
    return static_mount(
        directory,
        driver="s3.csi.aws.com",
        attributes={**bucket.attributes, "bucketName": bucket.container},
        options=(*_OPTIONS, *bucket.mount_options),
    )


DRIVER = Driver(
    name="mountpoint-s3",
    scheme="s3",
    can=frozenset(),
    takes=frozenset({"mountOptions", "attributes"}),
    mount=mount,
)
