"""The daemon's loop: fetch, read, resolve, plan, apply, report.

All of its state can be worked out again from Git and from the engine, so it may be killed at any
instruction. The loop is woken by anything that may change the plan, and runs only then. A sync is
a function of the state that it reads, never of the cause of its wake.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from reconciler.backoff import jittered
from reconciler.config import Setup
from reconciler.daemon.bucket_listings import BucketListings
from reconciler.daemon.collector import Collector
from reconciler.daemon.head_fetcher import HeadFetcher
from reconciler.daemon.once import OncePatience
from reconciler.daemon.plan_executor import PlanExecutor
from reconciler.daemon.plan_reporter import Observer, PlanReporter, log_head
from reconciler.daemon.pull_request_planner import DaemonState
from reconciler.daemon.retention import Retention
from reconciler.daemon.retention_sources import RetentionSources
from reconciler.daemon.scrubber import Scrubber
from reconciler.daemon.status_pusher import StatusPusher
from reconciler.daemon.status_store import StatusStore
from reconciler.daemon.wake import SETTLE, Wake
from reconciler.engine import Engine, Run
from reconciler.git import GitError, Mirror, Sources
from reconciler.metrics import Metrics
from reconciler.planner import (
    Plan,
    announced_endings,
    artifacts_in_use,
    reported_losses,
    wanted_results,
)
from reconciler.status import CollectionReport
from reconciler.workspace import (
    CommitPlanner,
    CommitReader,
    CommitSnapshot,
    PlannedCommit,
    PlanState,
    RemoteStatusReader,
    SourceResolver,
)

log = structlog.get_logger(__name__)


class Daemon:
    """One manifest repository, one engine, one status branch."""

    def __init__(
        self,
        setup: Setup,
        *,
        mirror: Mirror,
        sources: Sources,
        engine: Engine,
        store: StatusStore,
        metrics: Metrics,
        retention: RetentionSources,
        observe: Observer = lambda *_: None,
    ) -> None:
        self._setup = setup
        self._mirror = mirror
        self._sources = sources
        self._engine = engine
        self._store = store
        self._metrics = metrics
        self._remote = RemoteStatusReader(mirror, setup.cluster_branches)
        self.wake = Wake()
        self._listings = BucketListings(
            engine.list_data,
            interval=setup.config.sources.interval,
            changed=self.wake.replan,
            patience=sources.patience,
        )
        self._planner = CommitPlanner(
            CommitReader.from_setup(mirror, setup),
            settings=setup.settings,
            sources=SourceResolver(
                mirror,
                setup.repository_url,
                setup.sources_allow,
                remote=lambda wanted, urls: sources.resolve(wanted, refresh=urls),
                buckets=self._listings.resolve,
            ),
            remote=self._remote.read,
        )
        self._reporter = PlanReporter(
            setup,
            mirror=mirror,
            planner=self._planner,
            store=store,
            metrics=metrics,
            observe=observe,
        )
        #: The messages of problems that last, by the part of the daemon that has the problem.
        self.troubles: dict[str, str] = {}
        self._fetcher = HeadFetcher(setup, mirror, self._remote, metrics, self.troubles)
        self._retention = Retention(
            retention,
            store,
            metrics,
            plan=lambda: self._planned.plan if self._planned is not None else None,
            state=self.state,
            replan=self.wake.replan,
        )
        self._collector = Collector(engine, store, metrics, self._retention)
        self._scrubber = Scrubber(
            engine, store, interval=setup.config.retention.verify, found=self.wake.replan
        )
        self._pusher = StatusPusher(
            store,
            metrics,
            self.troubles,
            interval=setup.config.status.interval,
            pushed=self._status_pushed,
        )
        self._snapshot: CommitSnapshot | None = None
        self._planned: PlannedCommit | None = None
        #: The monotonic time at which an unplanned commit was noticed.
        self._noticed: float | None = None
        #: The monotonic time of the plan's next retry.
        self._retry_due = 0.0
        #: A release that is not applied, as it could not be recorded.
        self._unrecorded = False
        self.synced = asyncio.Event()

    async def run(self, *, once: OncePatience | None = None) -> None:
        """Sync until cancelled; with ``once``, until nothing more can be done.

        Raises GitError or WrongBranchError where it cannot begin, and with
        ``once`` GitError where it cannot push what came of it.
        """
        await self._start(once=once is not None)
        try:
            async with asyncio.TaskGroup() as tasks:
                own = [self._poll(), self._pusher.run(), self._collector.run(self.synced)]
                own.append(self._retention.mounted.run())
                if once is None:
                    own.append(self._scrubber.run(self.synced))
                helpers = [tasks.create_task(one) for one in own]
                await self._loop(once)
                for helper in helpers:
                    helper.cancel()
            if once is not None:
                await self._collector.collect()
                await self._store.flush()  # without its status the sync has failed
        except* Exception as group:  # noqa: BLE001 -- raised again, without its group
            # Only one of them can be the cause; the others were cancelled for it.
            raise group.exceptions[0] from None
        finally:
            await self._stop()

    async def _loop(self, once: OncePatience | None) -> None:
        while True:
            began = time.monotonic()
            await self._sync(strict=once is not None)
            plan = self._planned.plan if self._planned is not None else None
            longest = None
            if once is not None and plan is not None and not self.wake.event.is_set():
                longest = once.left(
                    plan,
                    self._engine.runs(),
                    began=began,
                    retry=self._retry_due - time.monotonic(),
                    source=min(self._sources.due(), self._listings.due()),
                )
                if longest is None:
                    return
            await self._sleep(plan, longest)

    async def _start(self, *, once: bool) -> None:
        while True:
            try:
                await self._store.load()
                break
            except GitError as error:
                if once:
                    raise
                await asyncio.sleep(self._fetcher.delay(error))
        self._listings.start()
        await self._engine.start(self.wake.replan)

    async def _stop(self) -> None:
        """Leave runs to a later daemon, and push the last status."""
        gc.unfreeze()
        await self._listings.stop()
        await self._engine.stop()
        try:
            await self._store.flush()
        except GitError as error:
            log.warning("the last status could not be pushed", error=str(error))

    @property
    def collection(self) -> CollectionReport | None:
        """The result of the last collection."""
        return self._store.collection

    def runs(self) -> Mapping[str, Run]:
        """Return the engine's runs, by name."""
        return self._engine.runs()

    def state(self) -> DaemonState | None:
        """Return a copy of the state; None before the first fetch."""
        if self._snapshot is None:
            return None
        return DaemonState(
            head=self._snapshot.commit,
            state=self._plan_state(self._engine.runs()).copy(),
            collection=self.collection,
        )

    def _plan_state(self, runs: Mapping[str, Run]) -> PlanState:
        store = self._store
        return PlanState(
            records=store.records,
            ledger=store.ledger,
            runs=runs,
            capacity=self._engine.capacity,
            recorded=store.recorded(runs),
            now=datetime.now(UTC),
        )

    # -- one sync --------------------------------------------------------------------------

    async def _sync(self, *, strict: bool) -> None:
        """Fetch, read, resolve, plan, apply and report, as far as asked."""
        if self.wake.fetch or self._snapshot is None:
            self.wake.fetch = False
            await self._fetch(strict=strict)
        if self._snapshot is None or not self.wake.plan:
            return
        self.wake.plan = False
        async with self._retention.lock:
            await self._plan_and_apply(self._snapshot)
        self._noticed = None
        if not self.synced.is_set():
            self.synced.set()
            # The objects of a first sync stay, and have no cycles: with 10,000 manifests each full
            # garbage collection would take a second for them.
            gc.freeze()

    async def _plan_and_apply(self, snapshot: CommitSnapshot) -> None:
        with self._metrics.sync_seconds.time():
            planned = await self._plan(snapshot)
            if self._planned is None:
                planned = await self._recover(planned)
            if await self._retention.restore_desired(planned.plan):
                planned = await self._plan(snapshot)
            planned = await self._without_losses(planned)
            with self._metrics.apply_seconds.time():
                await self._apply(planned)
        self._planned = planned

    async def _fetch(self, *, strict: bool) -> None:
        """Fetch the repository, and read its newest commit.

        A failure is tried again later. With ``strict`` that of the first fetch is raised.
        """
        began, known = time.monotonic(), self._snapshot
        try:
            with self._metrics.fetch_seconds.time():
                last = known.commit if known is not None else self._store.head
                head = await asyncio.to_thread(self._fetcher.head, last)
            if known is None or (head.commit, head.refused) != (known.commit, known.refused):
                snapshot = await asyncio.to_thread(self._planner.read, head.commit)
                self._snapshot = replace(snapshot, refused=head.refused)
                self._noticed = began
                self.wake.plan = True
                log_head(self._snapshot)
        except GitError as error:
            if strict and known is None:
                raise
            delay = self._fetcher.delay(error)
            asyncio.get_running_loop().call_later(delay, self.wake.poll)
        else:
            self._fetcher.succeeded()
            self._store.beat(datetime.now(UTC))
            if await self._fetcher.remote_clusters():
                self.wake.plan = True

    async def _plan(self, snapshot: CommitSnapshot) -> PlannedCommit:
        """Resolve a commit's sources, and plan it on the current state."""
        store, runs = self._store, self._engine.runs()
        store.verified(self._scrubber.take_verified())
        store.ledger.learn_runs(runs)
        resolved = await asyncio.to_thread(self._planner.resolve, snapshot, store.records)
        self._metrics.report_sources(resolved.resolutions.values())
        state = self._plan_state(runs)
        began = time.monotonic()
        with self._metrics.plan_seconds.time():
            planned = self._planner.plan(resolved, state)
        if (retry_at := planned.plan.retry_at) is not None:
            # As a duration: the clock may be set while the daemon sleeps.
            self._retry_due = began + (retry_at - state.now).total_seconds()
        return planned

    async def _recover(self, planned: PlannedCommit) -> PlannedCommit:
        """Look for results in the buckets, and plan again.

        Needed only if there is no status branch.
        """
        if self._store.found_memory:
            return planned
        wanted = wanted_results(planned.plan.inputs)
        found = await self._engine.recover(wanted)
        if not found:
            return planned
        tasks = {item.key: item.task for item in wanted}
        for key, result in found.items():
            self._store.ledger.complete(key, tasks[key], result)
        log.info("results found that no record names", count=len(found))
        return await self._plan(planned.snapshot)

    async def _without_losses(self, planned: PlannedCommit) -> PlannedCommit:
        """Plan again if an artifact that the plan relies on is gone.

        The first sync looks at every current artifact, as anything may have happened meanwhile.
        """
        ledger, plan = self._store.ledger, planned.plan
        used = artifacts_in_use(plan, all_current=self._planned is None)
        lost = reported_losses(plan) | self._scrubber.take_losses() | await self._engine.lost(used)
        if lost:
            lost -= await self._retention.take_back(lost)
        if not lost:
            return planned
        now = datetime.now(UTC)
        for key in lost:
            ledger.lose(key, now)
            log.warning("artifact lost", key=key[:12], url=ledger.losses[key].url)
        return await self._plan(planned.snapshot)

    async def _apply(self, planned: PlannedCommit) -> None:
        """Apply a plan, and report it.

        A release is recorded before it is applied; where it cannot be, nothing is applied, and the
        next push that succeeds wakes the loop. So is what an ended run will have cost, but a run is
        ended all the same where that cannot be.
        """
        if planned.plan.released or self._unrecorded:
            self._store.ledger.use_releases(hold.id for hold in planned.plan.released)
            ends = {ending.run.name for ending in planned.plan.endings}
            await self._reporter.report(planned, going_on=ends)
            try:
                await self._pusher.push()
            except GitError:
                self._planner.applied(None)
                self._unrecorded = True
                return
            self._unrecorded = False
            # Reported again once it is applied, from the records that are there now.
            planned = planned.with_records(self._store.records)
        elif announced := announced_endings(planned.plan):
            self._store.announce(announced)
            await self._pusher.announce()
            planned = planned.with_records(self._store.records)
        executor = PlanExecutor(
            self._engine, self._store.ledger, self._metrics, self.wake.replan, self._noticed
        )
        refused = await executor.apply(planned.plan)
        await self._reporter.report(planned, going_on=refused)

    # -- waiting ---------------------------------------------------------------------------

    async def _sleep(self, plan: Plan | None, longest: float | None) -> None:
        """Sleep until woken or something is due, ``longest`` seconds at most."""
        timeout = min(self._sources.due(), self._listings.due())
        if plan is not None and plan.retry_at is not None:
            timeout = min(timeout, self._retry_due - time.monotonic())
        if longest is not None:
            timeout = min(timeout, longest)
        try:
            async with asyncio.timeout(max(timeout, SETTLE)):
                await self.wake.event.wait()
        except TimeoutError:
            self.wake.plan = True
        else:
            await self.wake.settle()
        self.wake.event.clear()

    async def _poll(self) -> None:
        interval = self._setup.config.repository.interval
        while True:
            await asyncio.sleep(jittered(interval))
            self.wake.poll()

    def _status_pushed(self, recorded: bool) -> None:
        if recorded or self._unrecorded:
            self.wake.replan()  # older runs can be cleared away, or a release be applied
