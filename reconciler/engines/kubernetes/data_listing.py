"""Listings of observed buckets, by a Job with the folder mounted.

The daemon holds no credentials of buckets, and pods do. The Job prints one line: a digest over
sizes, times of modification and names of all files, their number and their bytes. The times are
what the driver makes of the store's: of an object, when it was last written.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from reconciler.engine import LISTING_PATIENCE, EngineError
from reconciler.engines.kubernetes import wrapper
from reconciler.engines.kubernetes.api_errors import ApiConflict
from reconciler.engines.kubernetes.bucket_job import bucket_job
from reconciler.engines.kubernetes.client import Api
from reconciler.engines.kubernetes.command_pod import mount_at
from reconciler.engines.kubernetes.config import ClusterSettings
from reconciler.engines.kubernetes.informer import JOBS
from reconciler.engines.kubernetes.job_output import JobOutput, failed
from reconciler.engines.kubernetes.pod_parts import CONTAINER, ApiObject
from reconciler.reasons import Reason, ReasonCode, message
from reconciler.types import BucketSource, DataListing, ListingDigest

#: Seconds that the Job may wait for a node, its images and its mount, beyond the listing.
_START = 120.0
#: Bytes of the log that are read; the line is its last one.
_LONGEST = 16 << 10
_FOLDER = "/bucket"
#: Sorting holds all names in memory: this bounds them, and with them the files.
_MEMORY = "256Mi"
# Without a match of `! -type d` no digest would be printed: awk opens sha256sum at its begin.
_LIST = """set -euo pipefail
cd "$0"
find . ! -type d -print0 | sort -z | xargs -0 -r stat -c '%s %Y %n' | awk '
    BEGIN { printf "" | "sha256sum" }
    { files++; bytes += $1; print | "sha256sum" }
    END { if (close("sha256sum")) exit 1; printf "%d %.0f\\n", files, bytes }'
"""
_PRINTED = re.compile(rb"([0-9a-f]{40})[0-9a-f]{24}  -\n([0-9]{1,15}) ([0-9]{1,18})\n")


def render_listing(source: BucketSource, settings: ClusterSettings) -> list[ApiObject]:
    """Render the Job and its volumes. Raises RenderError.

    It keeps to the restricted Pod Security Standard, but for the mount of the bucket.
    """
    directory = settings.directory(
        "listing", source.url, namespace=source.namespace, read_only=True
    )
    mount = mount_at(directory, _FOLDER)
    fragment = mount.fragment
    install = wrapper.install_container(settings.images.wrapper)
    requests = {"cpu": "100m", "memory": _MEMORY}
    container = {
        "name": CONTAINER,
        "image": settings.images.wrapper,
        "command": ["sh", "-c", wrapper.literal(_LIST), wrapper.literal(mount.path)],
        "resources": {"requests": requests, "limits": {"memory": _MEMORY}},
        "securityContext": install["securityContext"],
        "volumeMounts": list(fragment.mounts),
    }
    return bucket_job(
        "listing",
        source.url,
        source.namespace,
        settings,
        container,
        fragment,
        deadline=LISTING_PATIENCE,
    )


def read_listing(text: bytes) -> DataListing | None:
    """Read the end of a log; None if it is no listing."""
    found = list(_PRINTED.finditer(text))
    if not found or found[-1].end() != len(text):
        return None
    digest, files, size = found[-1].groups()
    return DataListing(ListingDigest(digest.decode()), files=int(files), size=int(size))


@dataclass(frozen=True, slots=True)
class ListingJob:
    """Takes listings. ``create`` creates an object unless it exists."""

    api: Api
    render: Callable[[BucketSource], list[ApiObject]]
    create: Callable[[ApiObject], Awaitable[None]]

    async def take(self, source: BucketSource) -> DataListing:
        """List a folder. Raises EngineError."""
        try:
            return await self._take(source)
        except TimeoutError as error:
            raise _unlisted(source, "its Job took too long") from error
        except EngineError as error:
            raise _unlisted(source, message(error.reason)) from error

    async def _take(self, source: BucketSource) -> DataListing:
        job, *others = self.render(source)
        output = JobOutput(self.api, self.create, _LONGEST)
        for other in others:
            await self.create(other)
        try:
            await self.api.create(JOBS.path(source.namespace), job)
        except ApiConflict:
            # An earlier daemon's, with what was there then.
            await output.delete(job)
            raise failed("the Job of an earlier listing is there still") from None
        text = await output.created(job, patience=LISTING_PATIENCE + _START)
        listing = read_listing(text)
        if listing is None:
            raise failed("its Job printed no listing")
        return listing


def _unlisted(source: BucketSource, why: str) -> EngineError:
    detail = f"{source.url} cannot be listed: {why}"
    return EngineError(Reason.of(ReasonCode.SOURCE_UNAVAILABLE, detail=detail))
