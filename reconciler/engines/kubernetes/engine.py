"""The engine: two informers to read, three calls to make.

Nothing is kept but what the API server says, so that a restart forgets nothing. Every call may be
made again: a creation that finds its own Job adopts it, a deletion names the UID it means.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import structlog

from reconciler.engine import Capacity, Collected, EngineError, Result, Run, RunSpec, Wanted
from reconciler.engines.kubernetes.api_errors import ApiConflict, NotFound, Rejected
from reconciler.engines.kubernetes.api_types import Job, Pod
from reconciler.engines.kubernetes.artifact_collection import ArtifactJobs, RenderCollection
from reconciler.engines.kubernetes.bucket_job import COLLECT, INVENTORY
from reconciler.engines.kubernetes.client import Api, collection_of, delete_options
from reconciler.engines.kubernetes.copies import CopyWatch
from reconciler.engines.kubernetes.data_listing import ListingJob
from reconciler.engines.kubernetes.diagnostics import (
    JOB_NAME,
    explain_disruption,
    job_name,
    job_uid,
)
from reconciler.engines.kubernetes.gangs import in_gang
from reconciler.engines.kubernetes.headless_service import (
    HeadlessServices,
    headless_service,
    needs_service,
)
from reconciler.engines.kubernetes.informer import JOBS, PODS, Informer
from reconciler.engines.kubernetes.inventory import Folder, Inventory
from reconciler.engines.kubernetes.missing_pods import MissingPods
from reconciler.engines.kubernetes.observer import (
    RunCache,
    identify,
    observe_orphan,
    observe_run,
    with_outcome_pending,
)
from reconciler.engines.kubernetes.pod_parts import MANAGED_BY, ApiObject
from reconciler.engines.kubernetes.queues import QueueWatch
from reconciler.engines.local import is_stored_as_made
from reconciler.reasons import Reason, ReasonCode
from reconciler.stores import SCHEMES
from reconciler.types import GROUP, JSON, BucketSource, DataListing, TaskKey

log = structlog.get_logger(__name__)

#: What a run is as objects: its Job, and then what it needs beside it.
Render = Callable[[RunSpec], list[dict[str, JSON]]]
#: Seconds that the first lists are waited for before a start is given up.
START_TIMEOUT = 60.0


@dataclass(slots=True)
class _Runs:
    """The runs as of one state of the informers."""

    runs: dict[str, Run] = field(default_factory=dict)
    stale: bool = True


class KubernetesEngine:
    """Runs as Jobs of one cluster.

    ``namespaces`` are those whose Jobs are watched; empty is all. ``may_write`` is called
    before every change; a daemon that does not lead any more changes nothing.
    """

    def __init__(
        self,
        api: Api,
        *,
        instance: str,
        render: Render,
        namespaces: tuple[str, ...] = (),
        may_write: Callable[[], bool] = lambda: True,
        inventory: Callable[[Folder], list[ApiObject] | None] = lambda _: None,
        listing: Callable[[BucketSource], list[ApiObject]] = lambda _: [],
    ) -> None:
        self._api = api.guarded(may_write)
        self._instance = instance
        self._render = render
        self._may_write = may_write
        self._inventory = inventory
        self._listing = listing
        self._changed: Callable[[], None] = lambda: None
        selector = f"{MANAGED_BY}=reconciler,{GROUP}/instance={instance}"
        places = namespaces or (None,)
        self._jobs = [
            Informer(api, JOBS, Job, selector=selector, changed=self._invalidate, namespace=place)
            for place in places
        ]
        self._pods = [
            Informer(api, PODS, Pod, selector=selector, changed=self._invalidate, namespace=place)
            for place in places
        ]
        self._known = _Runs()
        self._run_cache = RunCache()
        self._missing_pods = MissingPods(self._list_pods, self._invalidate)
        self._copies = CopyWatch(
            api, lambda: itertools.chain.from_iterable(self._pods), self._invalidate
        )
        self._queues = QueueWatch(api, places, self._jobs_of_runs, self._invalidate)
        self._services = HeadlessServices(self._create_other, self._current, self._invalidate)
        self._deleted: set[str] = set()
        self._disrupted: dict[str, Reason | None] = {}
        self._ignored: set[str] = set()
        self._watches: list[asyncio.Task[None]] = []

    @property
    def capacity(self) -> Capacity:
        """Containers, and as many GPUs as the cluster's autoscaler will bring."""
        return Capacity(containers=True)

    async def start(self, changed: Callable[[], None]) -> None:
        """List and watch; returns once everything was listed. Raises EngineError.

        What an earlier daemon had not come to after it had created a Job is done now.
        """
        self._changed = changed
        informers: list[Informer[Job] | Informer[Pod]] = [*self._jobs, *self._pods]
        try:
            # Asked once where an error is the caller's to see; from then on it is retried.
            await asyncio.gather(*(informer.check() for informer in informers))
            self._watches = [asyncio.create_task(informer.run()) for informer in informers]
            self._watches.append(asyncio.create_task(self._copies.run()))
            self._watches.append(asyncio.create_task(self._queues.run()))
            async with asyncio.timeout(START_TIMEOUT):
                for informer in informers:
                    await informer.synced.wait()
        except EngineError:
            await self.stop()
            raise
        except TimeoutError as error:
            await self.stop()
            detail = "the cluster's Jobs and Pods could not be listed"
            raise EngineError(Reason.of(ReasonCode.ENGINE_UNAVAILABLE, detail=detail)) from error
        await self._complete_jobs()
        log.info("the cluster is watched", runs=len(self.runs()))

    async def stop(self) -> None:
        """Stop watching. Jobs go on; a later daemon adopts them."""
        watches, self._watches = self._watches, []
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        await self._missing_pods.stop()
        await self._services.stop()
        await self._api.close()

    def runs(self) -> Mapping[str, Run]:
        """Every run of this instance by name, from memory."""
        if self._known.stale:
            self._known = _Runs(self._observe(), stale=False)
        return self._known.runs

    async def create(self, spec: RunSpec) -> None:
        """Create the run's objects, or adopt its Job. Raises EngineError.

        Volumes come before the Job, whose pods wait for them; what only this Job has comes
        after it, and goes with it.
        """
        jobs = self._jobs_in(spec.namespace)
        job, *others = self._render(spec)
        own = [other for other in others if other["kind"] == "Service"]
        for rendered in others:
            if rendered not in own:
                await self._create_other(rendered)
        created = jobs.learn(await self._create_job(spec, await in_gang(self._api, job)))
        self._missing_pods.follow(created.metadata.uid)
        for rendered in own:
            await self._services.make(created, rendered)

    async def delete(self, name: str) -> None:
        """Delete the Job, and in the background its pods. Raises EngineError."""
        job = self._job(name)
        if job is None or job.metadata.deletion_timestamp is not None:
            return
        meta = job.metadata
        with contextlib.suppress(NotFound, ApiConflict):  # it is gone, or another has its name
            await self._api.delete(JOBS.path(meta.namespace, meta.name), delete_options(meta.uid))
        self._deleted.add(meta.uid)
        self._invalidate()

    async def recover(self, wanted: Iterable[Wanted]) -> Mapping[TaskKey, Result]:
        """Find artifacts, by a Job in each bucket that has inventories.

        Nothing of images: a build asks the registry first. What is not found is made by a run,
        which finds its marker or tag, and ends.
        """
        if not self._may_write():
            return {}
        inventory = Inventory(self._api, self._inventory, self._create_other)
        return await inventory.take(wanted)

    async def lost(self, artifacts: Iterable[Wanted]) -> frozenset[TaskKey]:
        """Return nothing: runs report losses.

        The daemon may be unable to read a bucket.
        """
        return frozenset()

    async def verify(self, artifact: Wanted) -> bool | None:
        """Compare an artifact in a cloud bucket with its marker.

        None where the daemon cannot read it: for want of credentials, or as it is on a claim.
        """
        url = artifact.url or ""
        if urlsplit(url).scheme not in SCHEMES:
            return None
        return await is_stored_as_made(url, artifact.key)

    async def list_data(self, source: BucketSource) -> DataListing:
        """List a bucket's folder, by a Job in its namespace. Raises EngineError."""
        self._jobs_in(source.namespace)
        return await ListingJob(self._api, self._listing, self._create_other).take(source)

    async def collect(self, images: AbstractSet[str]) -> Sequence[Collected]:
        """Remove nothing: images are the registry's."""
        return ()

    def artifact_jobs(self, render: RenderCollection) -> ArtifactJobs:
        """Return the Jobs that hide, restore and remove artifacts."""
        return ArtifactJobs(self._api, render, self._create_other, self._jobs_in)

    # -- observing ---------------------------------------------------------------------------

    def _invalidate(self) -> None:
        self._known.stale = True
        self._copies.notice()
        self._queues.notice()
        self._changed()

    def _observe(self) -> dict[str, Run]:
        pods: dict[tuple[str, str], list[Pod]] = defaultdict(list)
        for informer in self._pods:
            for pod in informer:
                pods[job_name(pod), job_uid(pod)].append(pod)
        runs = {}
        uids = set()
        disruptions: dict[str, Reason | None] = {}
        for job in self._jobs_of_runs():
            meta = job.metadata
            uids.add(meta.uid)
            own = pods.pop((meta.name, meta.uid), [])
            # The pod that was disrupted may be gone by the time that its Job has failed.
            disrupted = explain_disruption(own) or self._disrupted.get(meta.uid)
            disruptions[meta.uid] = disrupted
            deleting = meta.uid in self._deleted
            run = self._run_cache.get(job, own, deleting=deleting, disrupted=disrupted)
            if run is None:
                self._ignore(job)
                continue
            run = self._queues.explain_run(run, job, own)
            if run.live:
                self._missing_pods.follow(meta.uid)
                reason = self._services.explain_missing(job)
                if reason is None and not run.lost:
                    reason = self._copies.reason(own)
                run = run if reason is None else replace(run, reason=reason)
            elif self._missing_pods.are_pending(job, own):
                run = with_outcome_pending(run)
            runs[run.name] = run
        self._deleted &= uids
        self._disrupted = disruptions
        self._missing_pods.retain(uids)
        self._queues.retain(uids)
        self._run_cache.retain(uids)
        for (name, _), left in pods.items():
            if (run := observe_orphan(left, name)) is not None:
                runs[run.name] = run
        return runs

    def _jobs_of_runs(self) -> Iterator[Job]:
        for informer in self._jobs:
            for job in informer:
                if job.metadata.labels.get(f"{GROUP}/task") not in (INVENTORY, COLLECT):
                    yield job

    async def _list_pods(self, namespace: str, job: str) -> None:
        informer = next(c for c in self._pods if c.namespace in (None, namespace))
        await informer.list_selected(namespace, f"{JOB_NAME}={job}")

    def _ignore(self, job: Job) -> None:
        """Log once that a Job with the instance's label is foreign."""
        if job.metadata.uid not in self._ignored:
            self._ignored.add(job.metadata.uid)
            log.warning(
                "a Job with this instance's label lacks others, and is left alone",
                job=f"{job.metadata.namespace}/{job.metadata.name}",
            )

    def _current(self, job: Job) -> Job | None:
        meta = job.metadata
        return self._jobs_in(meta.namespace).get(meta.namespace, meta.name)

    def _job(self, name: str) -> Job | None:
        found = (job for informer in self._jobs for job in informer if job.metadata.name == name)
        return next((job for job in found if identify(job.metadata, name)), None)

    async def _complete_jobs(self) -> None:
        """Create the missing Services of Jobs with several ranks.

        A Service is created after its Job; an earlier daemon may have ended between the two.
        """
        for informer in self._jobs:
            for job in informer:
                ranks = job.spec.completions or 1
                if ranks > 1 and needs_service(job) and observe_run(job, ()) is not None:
                    meta = job.metadata
                    service = headless_service(meta.name, meta.namespace, meta.labels)
                    await self._services.make(job, service)

    # -- creating --------------------------------------------------------------------------

    async def _create_other(self, rendered: dict[str, JSON]) -> None:
        """Create an object that a Job needs; an existing one serves.

        It is made of the configuration, not of a manifest: what is refused of it may be mended.
        """
        try:
            with contextlib.suppress(ApiConflict):
                await self._api.create(collection_of(rendered), rendered)
        except Rejected as error:
            kind = str(rendered["kind"])
            reason = Reason.of(ReasonCode.OBJECT_REJECTED, kind=kind, detail=error.reason)
            raise EngineError(reason) from error

    def _jobs_in(self, namespace: str) -> Informer[Job]:
        """Return the informer of a namespace's Jobs.

        Raises EngineError for a namespace that is not watched: nothing is created there.
        """
        for informer in self._jobs:
            if informer.namespace in (None, namespace):
                return informer
        raise EngineError(Reason.of(ReasonCode.NAMESPACE_NOT_CONFIGURED, namespace=namespace))

    async def _create_job(self, spec: RunSpec, rendered: dict[str, JSON]) -> bytes:
        path = collection_of(rendered)
        try:
            return await self._api.create(path, rendered, user=spec.user)
        except ApiConflict:
            return await self._adopt(spec, f"{path}/{spec.name}")
        except Rejected as error:
            detail = f"the API server refuses it: {error}"
            reason = Reason.of(ReasonCode.RUN_REFUSED, detail=detail)
            raise EngineError(reason, permanent=True) from error
        except NotFound as error:
            reason = Reason.of(ReasonCode.NAMESPACE_MISSING, namespace=spec.namespace)
            raise EngineError(reason) from error

    async def _adopt(self, spec: RunSpec, path: str) -> bytes:
        """Return the existing Job of the run's name. Raises EngineError.

        It is adopted if it is what would have been created.
        """
        try:
            data = await self._api.get(path)
        except NotFound as error:
            reason = Reason.of(ReasonCode.JOB_TERMINATING, job=spec.name)
            raise EngineError(reason) from error
        meta = json.loads(data)["metadata"]
        labels = meta.get("labels", {})
        wanted = {MANAGED_BY: "reconciler", f"{GROUP}/instance": self._instance}
        wanted |= {f"{GROUP}/task": spec.task.value, f"{GROUP}/key": spec.key}
        different = [name for name, value in wanted.items() if labels.get(name) != value]
        if different:
            reason = Reason.of(
                ReasonCode.JOB_CONFLICT,
                namespace=spec.namespace,
                job=spec.name,
                labels=", ".join(different),
            )
            raise EngineError(reason)
        if meta.get("deletionTimestamp"):
            raise EngineError(Reason.of(ReasonCode.JOB_TERMINATING, job=spec.name))
        log.info("job adopted", run=spec.name)
        return data
