"""Inventories: a Job lists the complete artifacts of a bucket.

They are for a daemon that has lost its memory.

The daemon holds no credentials of buckets, and pods do. One Job for each namespace's part of a
bucket mounts that read-only, checks every marker against the files beside it, and prints a line for
each that holds. Its log is read once, and the Job deleted. Whatever goes wrong with it costs time
and nothing else: a run whose artifact is there finds its own marker, and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

import msgspec
import structlog

from reconciler.backoff import jittered
from reconciler.engine import EngineError, Result, Wanted, metrics_of, warnings_of
from reconciler.engines.kubernetes import merge_patch as templates
from reconciler.engines.kubernetes import wrapper
from reconciler.engines.kubernetes.api_types import Job, ObjectCondition, PodList
from reconciler.engines.kubernetes.client import Api, delete_options
from reconciler.engines.kubernetes.command_pod import mount_at
from reconciler.engines.kubernetes.config import ClusterSettings
from reconciler.engines.kubernetes.diagnostics import JOB_NAME, find_condition
from reconciler.engines.kubernetes.informer import JOBS, PODS
from reconciler.engines.kubernetes.pod_parts import CONTAINER, MANAGED_BY, ApiObject, Fragment
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import GROUP, TaskKey

log = structlog.get_logger(__name__)

#: The label of its task; no task of an object is called so.
INVENTORY = "inventory"
#: Seconds that an inventory may take, from its creation: then it is done without.
PATIENCE = 300.0
POLL = 1.0
AT_ONCE = 8
#: Bytes of a log that are read. A kubelet keeps 10 MiB of one: some 50,000 artifacts.
LONGEST = 16 << 20
#: Seconds after which a Job that no daemon deletes goes by itself.
_TTL = 600
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
    """Return the folders that may hold the wanted artifacts.

    A folder is ``BUCKET/clusters/C/namespaces/N/``; in it an artifact is ``KIND/NAME/KEY/``.
    """
    found: dict[str, dict[str, Wanted]] = defaultdict(dict)
    for item in wanted:
        if item.url is not None:
            *place, kind, name, key = item.url.rstrip("/").split("/")
            found["/".join(place)][f"{kind}/{name}/{key}"] = item
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
    pod: ApiObject = {
        "metadata": {"labels": _labels(settings)},
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": int(PATIENCE),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "initContainers": list(fragment.init_containers),
            "containers": [container],
            "volumes": list(fragment.volumes),
        },
    }
    if settings.registry.secret is not None:  # its images may be mirrored there
        pod["spec"]["imagePullSecrets"] = [{"name": settings.registry.secret}]
    pod = templates.merge(pod, settings.templates.get(INVENTORY, {}))
    identity = json.dumps([settings.instance, folder.url]).encode()
    job: ApiObject = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"r-inventory-{hashlib.sha256(identity).hexdigest()[:12]}",
            "namespace": folder.namespace,
            "labels": _labels(settings),
        },
        "spec": {"backoffLimit": 0, "ttlSecondsAfterFinished": _TTL, "template": pod},
    }
    return [job, *fragment.objects]


def _labels(settings: ClusterSettings) -> dict[str, str]:
    return {
        MANAGED_BY: "reconciler",
        f"{GROUP}/instance": settings.instance,
        f"{GROUP}/task": INVENTORY,
    }


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
                return await self._by(rendered, folder)
            except (EngineError, TimeoutError) as error:
                log.warning(
                    "a bucket could not be looked into; runs look for their own artifacts",
                    bucket=folder.url,
                    error=str(error) or "its Job took too long",
                )
                return {}

    async def _by(self, rendered: list[ApiObject], folder: Folder) -> dict[TaskKey, Result]:
        """Run the rendered Job and read its log. Raises EngineError, TimeoutError."""
        job, *others = rendered
        log.info("looking for artifacts", bucket=folder.url, job=job["metadata"]["name"])
        for other in (*others, job):
            await self.create(other)
        try:
            async with asyncio.timeout(PATIENCE):
                return read_inventory(await self._log(job), folder)
        finally:
            await self._delete(job)

    async def _log(self, rendered: ApiObject) -> bytes:
        """Return the Job's output once it has ended. Raises EngineError."""
        namespace, name = rendered["metadata"]["namespace"], rendered["metadata"]["name"]
        while True:
            ended = await self._end(rendered)
            if ended is not None:
                break
            await asyncio.sleep(jittered(POLL))
        if ended.type == "Failed":
            raise _failed(f"the Job {name} failed: {ended.message}")
        pods = PODS.path(namespace)
        page = await self.api.get(pods, {"labelSelector": f"{JOB_NAME}={name}"})
        found = msgspec.json.decode(page, type=PodList).items
        pod = next((pod for pod in found if pod.status.phase == "Succeeded"), None)
        if pod is None:
            raise _failed(f"the pod of the Job {name} is gone")
        path = f"{PODS.path(namespace, pod.metadata.name)}/log"
        text, _ = await self.api.tail(path, {"container": CONTAINER}, longest=LONGEST)
        return text

    async def _end(self, rendered: ApiObject) -> ObjectCondition | None:
        job = await self._ours(rendered)
        return find_condition(job.status.conditions, "Complete", "Failed")

    async def _ours(self, rendered: ApiObject) -> Job:
        """Read the Job. Raises EngineError if it is not the engine's."""
        meta = rendered["metadata"]
        data = await self.api.get(JOBS.path(meta["namespace"], meta["name"]))
        job = msgspec.json.decode(data, type=Job)
        if not meta["labels"].items() <= job.metadata.labels.items():
            raise _failed(f"a Job {meta['namespace']}/{meta['name']} is there that is not ours")
        return job

    async def _delete(self, rendered: ApiObject) -> None:
        """Delete the Job; its TTL is a safety net if that fails."""
        with contextlib.suppress(EngineError):
            meta = (await self._ours(rendered)).metadata
            path = JOBS.path(meta.namespace, meta.name)
            await self.api.delete(path, delete_options(meta.uid))


def _failed(detail: str) -> EngineError:
    return EngineError(Reason.of(ReasonCode.INFRASTRUCTURE_FAILED, detail=detail))
