"""Jobs of the daemon's own that print something: run, read, deleted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec

from reconciler.backoff import jittered
from reconciler.engine import EngineError
from reconciler.engines.kubernetes.api_errors import NotFound
from reconciler.engines.kubernetes.api_types import Job, PodList
from reconciler.engines.kubernetes.client import Api, delete_options
from reconciler.engines.kubernetes.diagnostics import JOB_UID, find_condition
from reconciler.engines.kubernetes.informer import JOBS, PODS
from reconciler.engines.kubernetes.pod_parts import CONTAINER, ApiObject
from reconciler.reasons import Reason, ReasonCode

POLL = 1.0


@dataclass(frozen=True, slots=True)
class JobOutput:
    """Runs rendered Jobs for what they print.

    ``create`` creates an object unless it exists. ``longest`` is the most bytes that are read.
    """

    api: Api
    create: Callable[[ApiObject], Awaitable[None]]
    longest: int

    async def of(self, rendered: Sequence[ApiObject], *, patience: float) -> bytes:
        """Run a Job, first in the list, and return its output.

        Raises EngineError, and TimeoutError after ``patience`` seconds.
        """
        job, *others = rendered
        for other in (*others, job):
            await self.create(other)
        return await self.created(job, patience=patience)

    async def created(self, job: ApiObject, *, patience: float) -> bytes:
        """Return the output of a Job that was created, and delete it.

        Raises EngineError, and TimeoutError after ``patience`` seconds.
        """
        try:
            async with asyncio.timeout(patience):
                return await self.read(job)
        finally:
            await self.delete(job)

    async def delete(self, rendered: ApiObject, *, pods_first: bool = False) -> None:
        """Delete the Job; its TTL is a safety net if that fails.

        With ``pods_first`` its name is free once its pods are gone.
        """
        with contextlib.suppress(EngineError):
            meta = (await self._ours(rendered)).metadata
            path = JOBS.path(meta.namespace, meta.name)
            await self.api.delete(path, delete_options(meta.uid, pods_first=pods_first))

    async def remove(self, rendered: ApiObject) -> None:
        """Delete the Job, and wait for the end of its pods.

        Raises EngineError.
        """
        with contextlib.suppress(NotFound):
            while True:
                meta = (await self._ours(rendered)).metadata
                if meta.deletion_timestamp is None:
                    path = JOBS.path(meta.namespace, meta.name)
                    await self.api.delete(path, delete_options(meta.uid, pods_first=True))
                await asyncio.sleep(jittered(POLL))

    async def read(self, rendered: ApiObject) -> bytes:
        """Return the output of a created Job, once ended. Raises EngineError."""
        namespace, name = rendered["metadata"]["namespace"], rendered["metadata"]["name"]
        while True:
            job = await self._ours(rendered)
            ended = find_condition(job.status.conditions, "Complete", "Failed")
            if ended is not None:
                break
            await asyncio.sleep(jittered(POLL))
        if ended.type == "Failed":
            raise failed(f"the Job {name} failed: {ended.message}")
        pods = PODS.path(namespace)
        # Labels with the Job's name may be anyone's, or an earlier Job's of that name.
        page = await self.api.get(pods, {"labelSelector": f"{JOB_UID}={job.metadata.uid}"})
        found = msgspec.json.decode(page, type=PodList).items
        pod = next((pod for pod in found if pod.status.phase == "Succeeded"), None)
        if pod is None:
            raise failed(f"the pod of the Job {name} is gone")
        path = f"{PODS.path(namespace, pod.metadata.name)}/log"
        text, _ = await self.api.tail(path, {"container": CONTAINER}, longest=self.longest)
        return text

    async def _ours(self, rendered: ApiObject) -> Job:
        """Read the Job. Raises EngineError if it is not the engine's.

        It may be any of its name, unless ``rendered`` has a UID.
        """
        meta = rendered["metadata"]
        data = await self.api.get(JOBS.path(meta["namespace"], meta["name"]))
        job = msgspec.json.decode(data, type=Job)
        if not meta["labels"].items() <= job.metadata.labels.items():
            raise failed(f"a Job {meta['namespace']}/{meta['name']} is there that is not ours")
        if meta.get("uid", job.metadata.uid) != job.metadata.uid:
            raise failed(f"the Job {meta['name']} was replaced by another")
        return job


def failed(detail: str) -> EngineError:
    """Make the error of a Job that prints nothing."""
    return EngineError(Reason.of(ReasonCode.INFRASTRUCTURE_FAILED, detail=detail))
