"""Jobs that get no pod, and why.

The Job controller tells the cause in events alone: admission, say, or a quota. A daemon that may
not list events finds that no pod is there.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress

import msgspec

from reconciler.backoff import jittered
from reconciler.engine import EngineError
from reconciler.engines.kubernetes.api_errors import Forbidden
from reconciler.engines.kubernetes.api_types import EventList, Job
from reconciler.engines.kubernetes.client import Api
from reconciler.engines.kubernetes.informer import EVENTS, JOBS
from reconciler.engines.kubernetes.job_output import POLL
from reconciler.engines.kubernetes.pod_parts import ApiObject
from reconciler.reasons import Reason, ReasonCode

#: Polls without a pod, after which there is none to come where events may not be listed.
_SILENT = 15
_LONGEST = 500


async def refusal(api: Api, created: ApiObject) -> Reason:
    """Wait until a created Job gets no pod; return the reason."""
    meta = created["metadata"]
    silent, allowed = 0, True
    while True:
        await asyncio.sleep(jittered(POLL))
        with suppress(EngineError):
            data = await api.get(JOBS.path(meta["namespace"], meta["name"]))
            if not _is_without_pod(msgspec.json.decode(data, type=Job)):
                silent = 0
                continue
            silent += 1
            try:
                told = await _told(api, created) if allowed else None
            except Forbidden:
                allowed, told = False, None
            if told is not None:
                return Reason.of(ReasonCode.POD_REFUSED, job=meta["name"], detail=told)
            if not allowed and silent >= _SILENT:
                return Reason.of(ReasonCode.POD_MISSING, job=meta["name"])


def _is_without_pod(job: Job) -> bool:
    """Return whether the controller of a Job made no pod."""
    status = job.status
    pods = status.active + status.terminating + status.failed + status.succeeded
    return status.start_time is not None and not pods and not status.conditions


async def _told(api: Api, created: ApiObject) -> str | None:
    """Return why no pod could be created. Raises ApiError."""
    meta = created["metadata"]
    selector = f"involvedObject.uid={meta['uid']},reason=FailedCreate"
    page = await api.get(EVENTS.path(meta["namespace"]), {"fieldSelector": selector})
    messages = [event.message for event in msgspec.json.decode(page, type=EventList).items]
    if not messages:
        return None
    # The pod's name is another one each time; a status is to change with the cause alone.
    name = re.compile(rf"\b({re.escape(meta['name'])})-[a-z0-9]{{5}}\b")
    return " ".join(name.sub(r"\1", messages[-1]).split())[:_LONGEST]
