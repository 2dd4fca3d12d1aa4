"""Headless Services, by which the ranks of a training find each other.

A Service is created after its Job, and deleted with it.

Ranks whose Service is not there never meet, and their Job would not be created once more. So a
Service that cannot be made (a quota, a server that is away) is tried again for as long as its Job
goes on, and the run says what is in the way.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping

import structlog

from reconciler.backoff import Backoff
from reconciler.engine import EngineError
from reconciler.engines.kubernetes.api_types import Job
from reconciler.engines.kubernetes.diagnostics import JOB_NAME, find_condition
from reconciler.engines.kubernetes.pod_parts import ApiObject
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import JSON

log = structlog.get_logger(__name__)

#: Pauses between two tries.
RETRY = Backoff(first=1.0, longest=60.0)

#: Creates an object unless it exists. Raises EngineError.
Create = Callable[[ApiObject], Awaitable[None]]


def headless_service(name: str, namespace: str, labels: Mapping[str, str]) -> ApiObject:
    """Render a Job's Service, which names its pods, ready or not."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {JOB_NAME: name},
        },
    }


def needs_service(job: Job) -> bool:
    """Return whether a Job's ranks may still have to find each other."""
    ended = find_condition(job.status.conditions, "Complete", "Failed")
    return ended is None and job.metadata.deletion_timestamp is None


class HeadlessServices:
    """Creates the Services of Jobs.

    ``current`` returns the Job of a Job's name as it is now.
    """

    def __init__(
        self, create: Create, current: Callable[[Job], Job | None], changed: Callable[[], None]
    ) -> None:
        self._create = create
        self._current = current
        self._changed = changed
        self._missing: dict[str, Reason] = {}
        self._trying: set[asyncio.Task[None]] = set()

    async def make(self, job: Job, service: ApiObject) -> None:
        """Create a Job's Service, or go on trying to; raises nothing."""
        owned = _owned(service, job)
        if job.metadata.uid in self._missing or await self._made(job, owned):
            return
        trying = asyncio.get_running_loop().create_task(self._try_again(job, owned))
        self._trying.add(trying)
        trying.add_done_callback(self._trying.discard)

    def explain_missing(self, job: Job) -> Reason | None:
        """Explain why a Job's Service is missing, if it is."""
        return self._missing.get(job.metadata.uid)

    async def stop(self) -> None:
        """Try no more."""
        trying = list(self._trying)
        for task in trying:
            task.cancel()
        await asyncio.gather(*trying, return_exceptions=True)

    async def _made(self, job: Job, owned: ApiObject) -> bool:
        try:
            await self._create(owned)
        except EngineError as error:
            log.warning("a Service cannot be made", job=job.metadata.name, error=str(error))
            self._missing[job.metadata.uid] = Reason.of(
                ReasonCode.SERVICE_MISSING, cause=error.reason
            )
            self._changed()
            return False
        if self._missing.pop(job.metadata.uid, None) is not None:
            self._changed()
        return True

    async def _try_again(self, job: Job, owned: ApiObject) -> None:
        for failures in itertools.count(1):
            await asyncio.sleep(RETRY.delay(failures))
            now = self._current(job)
            if now is None or now.metadata.uid != job.metadata.uid or not needs_service(now):
                self._missing.pop(job.metadata.uid, None)
                return
            if await self._made(job, owned):
                return


def _owned(rendered: ApiObject, job: Job) -> ApiObject:
    """Return an object that the garbage collector deletes with a Job."""
    owner: dict[str, JSON] = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": job.metadata.name,
        "uid": job.metadata.uid,
    }
    return {**rendered, "metadata": {**rendered["metadata"], "ownerReferences": [owner]}}
