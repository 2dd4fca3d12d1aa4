"""Inventories: a Job lists the complete artifacts of a bucket.

They are for a daemon that has lost its memory.

The daemon holds no credentials of buckets, and pods do. One Job for each namespace's part of a
bucket mounts that read-only, checks every marker against the files beside it, and prints a line for
each that holds. Its log is read once, and the Job deleted. Whatever goes wrong with it costs time
and nothing else: a run whose artifact is there finds its own marker, and ends.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

import structlog

from reconciler.engine import (
    EngineError,
    Result,
    Wanted,
    bucket_part,
    metrics_of,
    warnings_of,
)
from reconciler.engines.kubernetes import wrapper
from reconciler.engines.kubernetes.bucket_job import INVENTORY, bucket_job
from reconciler.engines.kubernetes.client import Api
from reconciler.engines.kubernetes.command_pod import mount_at
from reconciler.engines.kubernetes.config import ClusterSettings
from reconciler.engines.kubernetes.job_output import JobOutput
from reconciler.engines.kubernetes.pod_parts import CONTAINER, ApiObject, Fragment
from reconciler.types import TaskKey

log = structlog.get_logger(__name__)

#: Seconds that an inventory may take, from its creation: then it is done without.
PATIENCE = 300.0
AT_ONCE = 8
#: Bytes of a log that are read. A kubelet keeps 10 MiB of one: some 50,000 artifacts.
LONGEST = 16 << 20
_FOLDER = "/bucket"


@dataclass(frozen=True, slots=True)
class Folder:
    """A namespace's part of a bucket, and the artifacts wanted there.

    ``wanted`` is by the artifact's path in the folder.
    """

    url: str
    namespace: str
    wanted: Mapping[str, Wanted]


def folders(wanted: Iterable[Wanted]) -> list[Folder]:
    """Return the folders that may hold the wanted artifacts."""
    found: dict[str, dict[str, Wanted]] = defaultdict(dict)
    for item in wanted:
        place = bucket_part(item)
        if place is not None:
            found[place[0]][place[1]] = item
    return [Folder(url, url.rpartition("/")[2], items) for url, items in found.items()]


def render_inventory(folder: Folder, settings: ClusterSettings) -> list[ApiObject] | None:
    """Render the Job and its volumes. Raises RenderError.

    None if its bucket is configured without inventories.

    It keeps to the restricted Pod Security Standard, but for the mount of the bucket.
    """
    directory = settings.directory(
        "inventory", folder.url, namespace=folder.namespace, read_only=True
    )
    if not directory.bucket.inventory:
        return None
    mount = mount_at(directory, _FOLDER)
    install = wrapper.install_container(settings.images.wrapper)
    fragment = (
        Fragment(init_containers=(install,), volumes=(wrapper.volume(),), mounts=(wrapper.mount(),))
        + mount.fragment
    )
    container = {
        "name": CONTAINER,
        "image": settings.images.wrapper,
        "command": wrapper.wrapped(()),
        "env": [
            {"name": "RECONCILER_ARTIFACT", "value": wrapper.literal(mount.path)},
            {"name": "RECONCILER_INVENTORY", "value": "1"},
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        "securityContext": install["securityContext"],
        "volumeMounts": list(fragment.mounts),
    }
    return bucket_job(
        INVENTORY, folder.url, folder.namespace, settings, container, fragment, deadline=PATIENCE
    )


def read_inventory(text: bytes, folder: Folder) -> dict[TaskKey, Result]:
    """Read the wanted artifacts that a log lists; other lines are ignored."""
    found: dict[TaskKey, Result] = {}
    for line in text.splitlines():
        path, _, rest = line.decode("utf-8", "replace").partition(" ")
        item = folder.wanted.get(path)
        if item is None:
            continue
        seconds, _, told = rest.partition(" ")
        try:
            spent = float(seconds)
            metrics, warnings = json.loads(told)
        except (ValueError, TypeError, RecursionError):
            continue
        if not math.isfinite(spent) or spent < 0:
            continue
        found[item.key] = Result(
            url=item.url,
            metrics=metrics_of(metrics),
            gpu_seconds=spent,
            warnings=warnings_of(warnings),
        )
    return found


@dataclass(frozen=True, slots=True)
class Inventory:
    """Takes inventories.

    ``create`` creates an object unless it exists.
    """

    api: Api
    render: Callable[[Folder], list[ApiObject] | None]
    create: Callable[[ApiObject], Awaitable[None]]

    async def take(self, wanted: Iterable[Wanted]) -> dict[TaskKey, Result]:
        """Return the results found in every bucket that can be read."""
        places = asyncio.Semaphore(AT_ONCE)
        found: dict[TaskKey, Result] = {}
        for part in await asyncio.gather(*(self._of(each, places) for each in folders(wanted))):
            found |= part
        return found

    async def _of(self, folder: Folder, places: asyncio.Semaphore) -> dict[TaskKey, Result]:
        async with places:
            try:
                rendered = self.render(folder)
                if rendered is None:
                    return {}
                name = rendered[0]["metadata"]["name"]
                log.info("looking for artifacts", bucket=folder.url, job=name)
                output = JobOutput(self.api, self.create, LONGEST)
                return read_inventory(await output.of(rendered, patience=PATIENCE), folder)
            except (EngineError, TimeoutError) as error:
                log.warning(
                    "a bucket could not be looked into; runs look for their own artifacts",
                    bucket=folder.url,
                    error=str(error) or "its Job took too long",
                )
                return {}
