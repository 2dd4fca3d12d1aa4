"""Kueue's account of the Jobs that wait in its queues.

Of each Job of a queue Kueue keeps a Workload, whose conditions say why it is not admitted. They are
watched from the first Job on that waits; most clusters have no Kueue. A Job's position is in no
object: Kueue's visibility API, where it is served, is asked for it now and then, for as long as
a Job waits.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime
from typing import NoReturn
from urllib.parse import quote

import msgspec
import structlog

from reconciler.backoff import Backoff, jittered
from reconciler.engine import Run
from reconciler.engines.kubernetes.api_errors import ApiError, NotFound
from reconciler.engines.kubernetes.api_types import Job, ObjectCondition, ObjectMeta, Pod
from reconciler.engines.kubernetes.client import Api
from reconciler.engines.kubernetes.diagnostics import find_condition, finished_at, one_line
from reconciler.engines.kubernetes.informer import Informer, ResourceType
from reconciler.engines.kubernetes.job import QUEUE_LABEL
from reconciler.reasons import Reason, ReasonCode

log = structlog.get_logger(__name__)

GROUP = "kueue.x-k8s.io"
#: The label of a Workload that has its Job's UID.
JOB_UID = f"{GROUP}/job-uid"
VISIBILITY = f"visibility.{GROUP}"
#: Pauses between two looks for a Kueue that is not there, or may not be read.
RETRY = Backoff(first=10.0, longest=120.0)
#: Seconds between two questions for positions. Each may be a status commit.
PAUSE = 15.0
#: The last position that is shown: of a long queue only the head's status changes as it moves.
LAST_SHOWN = 10
#: Looks after which a Job without a Workload is no new one.
_LOOKS = 2


class KueueWorkloadStatus(msgspec.Struct, frozen=True, rename="camel"):
    """Kueue's decisions on a Workload."""

    conditions: list[ObjectCondition] = msgspec.field(default_factory=list)


class KueueWorkload(msgspec.Struct, frozen=True):
    """Kueue's record of a Job."""

    metadata: ObjectMeta
    status: KueueWorkloadStatus = KueueWorkloadStatus()


class QueueWatch:
    """Explains what the Jobs of queues wait for.

    ``namespaces`` are those of the engine, None for all. ``jobs`` returns all Jobs of runs;
    ``changed`` is called when an explanation may have changed.
    """

    def __init__(
        self,
        api: Api,
        namespaces: Sequence[str | None],
        jobs: Callable[[], Iterable[Job]],
        changed: Callable[[], None],
    ) -> None:
        self._api = api
        self._namespaces = namespaces
        self._jobs = jobs
        self._changed = changed
        self._news = asyncio.Event()
        self._absent = False
        self._workloads: list[Informer[KueueWorkload]] = []
        self._by_job: dict[str, KueueWorkload] | None = None
        self._looks: dict[str, int] = {}
        self._positions: Mapping[str, int] = {}
        self._ended: dict[str, datetime] = {}

    def notice(self) -> None:
        """Take note that Jobs have changed."""
        self._news.set()

    def explain_run(self, run: Run, job: Job, pods: Sequence[Pod]) -> Run:
        """Add to a suspended Job's run its reason and time of suspension.

        The pods whose place was taken away are soon gone; their end is kept until then.
        """
        if not run.live or not job.spec.suspend:
            return run
        uid = job.metadata.uid
        ended = finished_at(pods) or self._ended.get(uid)
        if ended is not None:
            self._ended[uid] = ended
        if run.suspended is None:
            return run
        since = max(run.suspended, ended) if ended is not None else run.suspended
        return replace(run, suspended=since, reason=self._explain(job))

    def retain(self, uids: AbstractSet[str]) -> None:
        """Forget all Jobs but these."""
        self._ended = {uid: ended for uid, ended in self._ended.items() if uid in uids}

    def _explain(self, job: Job) -> Reason:
        queue = job.metadata.labels.get(QUEUE_LABEL)
        if queue is None:
            return queued(job)
        if self._absent:
            return Reason.of(ReasonCode.QUEUE_CONTROLLER_MISSING, queue=queue)
        workload = self._index().get(job.metadata.uid)
        if workload is None:
            if self._looks.get(job.metadata.uid, 0) >= _LOOKS:
                return Reason.of(ReasonCode.QUEUE_IGNORES_JOB, queue=queue)
            return queued(job)
        return explain(workload, queue, self._positions.get(job.metadata.uid))

    async def run(self) -> NoReturn:
        """Watch Workloads, and ask for positions while Jobs wait."""
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._wait_for_a_job()
            await self._find()
            tasks = [asyncio.create_task(informer.run()) for informer in self._workloads]
            while True:
                jobs = await self._wait_for_a_job()
                await self._look(jobs)
                await asyncio.sleep(jittered(PAUSE))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _wait_for_a_job(self) -> list[Job]:
        while not (jobs := [job for job in self._jobs() if job.spec.suspend]):
            self._news.clear()
            await self._news.wait()
        return jobs

    async def _find(self) -> None:
        """Wait for a Kueue whose Workloads may be read."""
        for failures in itertools.count(1):
            try:
                kind = ResourceType(await self._find_version(GROUP), "workloads")
                found = [
                    Informer(
                        self._api,
                        kind,
                        KueueWorkload,
                        selector=JOB_UID,
                        changed=self._forget,
                        namespace=namespace,
                    )
                    for namespace in self._namespaces
                ]
                for informer in found:
                    await informer.check()
            except (ApiError, msgspec.MsgspecError) as error:
                self._set_absent(isinstance(error, NotFound))
                if failures == 1:
                    log.warning("Kueue's Workloads cannot be read", error=str(error))
                await asyncio.sleep(RETRY.delay(failures))
            else:
                self._set_absent(False)
                self._workloads = found
                return

    async def _find_version(self, group: str) -> str:
        """Return the path of a group's preferred version. Raises ApiError, MsgspecError."""
        served = msgspec.json.decode(await self._api.get(f"/apis/{group}"), type=_Group)
        return f"/apis/{served.preferred_version.group_version}"

    def _set_absent(self, absent: bool) -> None:
        if self._absent != absent:
            self._absent = absent
            self._changed()

    async def _look(self, jobs: Sequence[Job]) -> None:
        """Ask for the positions of waiting Jobs, one request a queue."""
        known = self._index()
        synced = all(informer.synced.is_set() for informer in self._workloads)
        looks = {
            job.metadata.uid: self._looks.get(job.metadata.uid, 0) + synced
            for job in jobs
            if job.metadata.uid not in known
        }
        queues = sorted(
            {(j.metadata.namespace, j.metadata.labels.get(QUEUE_LABEL, "")) for j in jobs}
        )
        positions = await self._ask_for_positions(queues)
        changed = positions != self._positions or any(
            (count >= _LOOKS) != (self._looks.get(uid, 0) >= _LOOKS) for uid, count in looks.items()
        )
        self._looks, self._positions = looks, positions
        if changed:
            self._changed()

    async def _ask_for_positions(self, queues: Iterable[tuple[str, str]]) -> Mapping[str, int]:
        """Return the positions in these queues, by the Job's UID.

        Queues are by namespace and name. Empty where no API tells positions. Its version is looked
        up each time, as Kueue may be upgraded under a daemon.
        """
        positions: Mapping[str, int] = {}
        try:
            version = await self._find_version(VISIBILITY)
        except (ApiError, msgspec.MsgspecError) as error:
            log.debug("no API tells positions in queues", error=str(error))
            return positions
        for namespace, queue in queues:
            if queue:
                path = f"{version}/namespaces/{namespace}/localqueues/{quote(queue)}"
                positions = {**positions, **await self._ask(f"{path}/pendingworkloads")}
        return positions

    async def _ask(self, path: str) -> Mapping[str, int]:
        """Return the positions in a queue; empty if they are forbidden."""
        try:
            answer = await self._api.get(path, {"limit": str(LAST_SHOWN)})
            pending = msgspec.json.decode(answer, type=_Pending)
        except (ApiError, msgspec.MsgspecError) as error:
            log.debug("positions in a queue cannot be read", path=path, error=str(error))
            return {}
        return {
            owner.uid: item.position_in_cluster_queue + 1
            for item in pending.items
            for owner in item.metadata.owner_references
        }

    def _forget(self) -> None:
        self._by_job = None
        self._changed()

    def _index(self) -> Mapping[str, KueueWorkload]:
        if self._by_job is None:
            found = itertools.chain.from_iterable(self._workloads)
            self._by_job = {w.metadata.labels.get(JOB_UID, ""): w for w in found}
        return self._by_job


_STARTING = "Kueue has admitted it; it is starting"
_RESERVED = "its quota is reserved, and its admission checks are not done"
_NOT_YET = "Kueue has not admitted it yet"


def queued(job: Job) -> Reason:
    """Return the reason of a suspended Job without a Workload. Pure."""
    queue = job.metadata.labels.get(QUEUE_LABEL)
    if queue is None:
        return Reason.of(ReasonCode.JOB_SUSPENDED)
    return Reason.of(ReasonCode.QUEUED, queue=queue, place="", detail=_NOT_YET)


def since_admission(job: Job, pods: Sequence[Pod]) -> Sequence[Pod]:
    """Return the pods since the Job's last admission. Pure.

    All of them where it was never suspended. Earlier ones had a place that was taken away, and are
    counted by themselves.
    """
    last = next((c for c in job.status.conditions if c.type == "Suspended"), None)
    admitted = last.last_transition_time if last is not None and last.status == "False" else None
    if admitted is None:
        return pods
    made = [(pod, pod.metadata.creation_timestamp) for pod in pods]
    return [pod for pod, at in made if at is None or at >= admitted]


def explain(workload: KueueWorkload, queue: str, position: int | None) -> Reason:
    """Explain why a Workload is not admitted. Pure."""
    conditions = workload.status.conditions
    shown = position is not None and position <= LAST_SHOWN
    place = f", at position {position}" if shown else ""
    quota = next((c for c in conditions if c.type == "QuotaReserved"), None)
    pending = one_line(quota.message) if quota is not None and quota.status == "False" else ""
    evicted = find_condition(conditions, "Evicted")
    if evicted is not None:  # its admission is taken back only after its Job is suspended
        cause = one_line(evicted.message) or evicted.reason
        detail = f"; {pending}" if pending not in ("", cause) else ""
        code = ReasonCode.QUEUED_AGAIN
        return Reason.of(code, queue=queue, place=place, cause=cause, detail=detail)
    if find_condition(conditions, "Admitted") is not None:
        return Reason.of(ReasonCode.QUEUED, queue=queue, place="", detail=_STARTING)
    if find_condition(conditions, "QuotaReserved") is not None:
        pending = _RESERVED
    return Reason.of(ReasonCode.QUEUED, queue=queue, place=place, detail=pending or _NOT_YET)


class _Version(msgspec.Struct, frozen=True, rename="camel"):
    group_version: str


class _Group(msgspec.Struct, frozen=True, rename="camel"):
    preferred_version: _Version


class _Waiting(msgspec.Struct, frozen=True, rename="camel"):
    metadata: ObjectMeta
    position_in_cluster_queue: int = 0


class _Pending(msgspec.Struct, frozen=True):
    items: list[_Waiting] = msgspec.field(default_factory=list)
