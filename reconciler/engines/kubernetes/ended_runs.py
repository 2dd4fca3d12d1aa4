"""Runs that a user ends on a cluster, without a commit.

The request is an annotation of the run's Job, with which the Job gets no further attempt. Each of
its pods gets a deadline that has passed, so that the kubelet ends it as for a timeout, within its
grace period, and the pod stays and says how long it ran. The Job of pods that have not started gets
the deadline itself. One that waits in a queue has ended with the annotation: the daemon deletes it
once the end is recorded. All of it is done as the caller, whose rights count.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from reconciler.backoff import Backoff
from reconciler.engine import EndRequest, read_end_request
from reconciler.engines.kubernetes.api_errors import ApiConflict, ApiError, NotFound
from reconciler.engines.kubernetes.api_types import Job, Pod, PodList
from reconciler.engines.kubernetes.client import Api
from reconciler.engines.kubernetes.diagnostics import (
    JOB_NAME,
    find_condition,
    has_started,
    job_uid,
    started_at,
)
from reconciler.engines.kubernetes.informer import JOBS, PODS
from reconciler.engines.kubernetes.observer import END, RunIdentity, identify
from reconciler.engines.kubernetes.pod_parts import MANAGED_BY
from reconciler.types import GROUP, JSON, ObjectRef, TaskKey, TaskKind

#: Tries to annotate a Job that its controller writes meanwhile.
_TRIES = 8
_RETRY = Backoff(first=0.1, longest=1.0)
_LOOK = Backoff(first=0.2, longest=2.0)
_REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_LONG_AGO = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRun:
    """A run that is under way, as its Job has it.

    ``ended``: nothing of it is left running. ``complete``: its artifact is there all the same.
    """

    name: str
    namespace: str
    uid: str
    object: ObjectRef
    task: TaskKind
    key: TaskKey
    started: datetime | None = None
    ended: bool = False
    complete: bool = False


class ClusterRuns:
    """The runs of an instance. Each call has its own connection."""

    def __init__(self, connect: Callable[[], Awaitable[Api]], instance: str) -> None:
        self._connect = connect
        self._selector = f"{MANAGED_BY}=reconciler,{GROUP}/instance={instance}"

    async def live(self, namespaces: Iterable[str | None]) -> list[ClusterRun]:
        """Return the runs of objects that have not ended.

        None is every namespace. Those of builds, which several objects may share, are not among
        them. Raises EngineError.
        """
        api = await self._connect()
        try:
            found = []
            for namespace in namespaces:
                jobs = await self._jobs(api, namespace)
                starts = await self._starts(api, namespace) if jobs else {}
                found += [
                    replace(run, started=starts.get(run.uid))
                    for job in jobs
                    if (run := _live_run(job)) is not None
                ]
            return found
        finally:
            await api.close()

    async def end(
        self, runs: Sequence[ClusterRun], cause: str, *, now: datetime, patience: float
    ) -> list[ClusterRun]:
        """End runs, and wait for that at most ``patience`` seconds.

        The first request counts. Returns the runs as they are then. Raises EngineError.
        """
        api = await self._connect()
        try:
            request = EndRequest(by=await _caller(api), at=now, cause=cause)
            for run in runs:
                await _end(api, run, request)
            return await asyncio.gather(*(_wait(api, run, patience) for run in runs))
        finally:
            await api.close()

    async def _jobs(self, api: Api, namespace: str | None) -> list[Job]:
        found = await api.get(JOBS.path(namespace), {"labelSelector": self._selector})
        return msgspec.json.decode(found, type=_JobList).items

    async def _starts(self, api: Api, namespace: str | None) -> dict[str, datetime]:
        """Return the first start of each Job's command, by UID."""
        found = await api.get(PODS.path(namespace), {"labelSelector": self._selector})
        starts: dict[str, datetime] = {}
        for pod in msgspec.json.decode(found, type=PodList).items:
            if (at := started_at(pod)) is not None:
                starts[job_uid(pod)] = min(at, starts.get(job_uid(pod), at))
        return starts


class _JobList(msgspec.Struct, frozen=True):
    items: list[Job] = msgspec.field(default_factory=list)


class _UserInfo(msgspec.Struct, frozen=True):
    username: str = ""


class _ReviewStatus(msgspec.Struct, frozen=True, rename="camel"):
    user_info: _UserInfo = _UserInfo()


class _Review(msgspec.Struct, frozen=True):
    status: _ReviewStatus = _ReviewStatus()


async def _caller(api: Api) -> str:
    """Return the caller's name at the API server, empty if unknown."""
    body: dict[str, JSON] = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "SelfSubjectReview",
    }
    try:
        review = msgspec.json.decode(await api.create(_REVIEW, body), type=_Review)
    except (ApiError, msgspec.MsgspecError):
        return ""
    return review.status.user_info.username


def _live_run(job: Job) -> ClusterRun | None:
    run = _run(job)
    return None if run is None or run.ended or job.metadata.deletion_timestamp else run


def _run(job: Job) -> ClusterRun | None:
    meta = job.metadata
    owner: RunIdentity | None = identify(meta, meta.name)
    if owner is None or owner.object is None:
        return None
    over = find_condition(job.status.conditions, "Complete", "Failed")
    queued = job.spec.suspend and not job.status.active and not job.status.terminating
    asked = read_end_request(meta.annotations.get(END, "")) is not None
    return ClusterRun(
        name=meta.name,
        namespace=meta.namespace,
        uid=meta.uid,
        object=owner.object,
        task=owner.task,
        key=owner.key,
        ended=over is not None or (queued and asked),
        complete=over is not None and over.type == "Complete",
    )


async def _end(api: Api, run: ClusterRun, request: EndRequest) -> None:
    pods = await _pods(api, run)
    await _annotate(api, run, request, started=any(map(has_started, pods)))
    for pod in pods:
        if not pod.is_over() and pod.metadata.deletion_timestamp is None:
            with suppress(NotFound):
                path = PODS.path(run.namespace, pod.metadata.name)
                await api.patch(path, {"spec": {"activeDeadlineSeconds": _LONG_AGO}})


async def _pods(api: Api, run: ClusterRun) -> list[Pod]:
    found = await api.get(PODS.path(run.namespace), {"labelSelector": f"{JOB_NAME}={run.name}"})
    pods = msgspec.json.decode(found, type=PodList).items
    return [pod for pod in pods if job_uid(pod) == run.uid]


async def _annotate(api: Api, run: ClusterRun, request: EndRequest, *, started: bool) -> None:
    """Write the request to a live run's Job that has none."""
    path = JOBS.path(run.namespace, run.name)
    for number in range(1, _TRIES + 1):
        job = await _job(api, run)
        if job is None or _live_run(job) is None or END in job.metadata.annotations:
            return
        spec: dict[str, JSON] = {"backoffLimit": 0}
        if not started:
            spec["activeDeadlineSeconds"] = _LONG_AGO
        metadata: dict[str, JSON] = {
            "annotations": {END: request.dump()},
            "resourceVersion": job.metadata.resource_version,
        }
        try:
            await api.patch(path, {"metadata": metadata, "spec": spec})
        except NotFound:
            return
        except ApiConflict:
            if number == _TRIES:
                raise
            await asyncio.sleep(_RETRY.delay(number))
        else:
            return


async def _job(api: Api, run: ClusterRun) -> Job | None:
    """Return the run's Job; None once it is gone."""
    try:
        found = await api.get(JOBS.path(run.namespace, run.name))
    except NotFound:
        return None
    job = msgspec.json.decode(found, type=Job)
    return job if job.metadata.uid == run.uid else None


async def _wait(api: Api, run: ClusterRun, patience: float) -> ClusterRun:
    loop = asyncio.get_running_loop()
    deadline, looks = loop.time() + patience, 0
    while True:
        job = await _job(api, run)
        now = replace(run, ended=True) if job is None else _run(job) or run
        if now.ended or loop.time() > deadline:
            return now
        looks += 1
        await asyncio.sleep(_LOOK.delay(looks))
