"""Azure Blob Storage by blobfuse: ``az://CONTAINER/path``, its account among the attributes.

It was never run: nothing but whole new files is relied on, so writes are staged.
"""

from __future__ import annotations

from reconciler.engines.kubernetes.buckets.interface import Directory, Driver, Mount
from reconciler.engines.kubernetes.buckets.static import static_mount

_OPTIONS = ("-o allow_other", "--virtual-directory=true", "--file-cache-timeout-in-seconds=120")


def mount(directory: Directory) -> Mount:
    """A static volume of the container."""
    bucket = directory.bucket
    return static_mount(
        directory,
        driver="blob.csi.azure.com",
        attributes={
            "protocol": "fuse2",
            **bucket.attributes,
            "containerName": bucket.container,
        },
        options=(*_OPTIONS, *bucket.mount_options),
        node_secret=bucket.secret,
    )


DRIVER = Driver(
    name="azure-blob",
    scheme="az",
    can=frozenset(),
    takes=frozenset({"mountOptions", "attributes", "secret"}),
    mount=mount,
)
