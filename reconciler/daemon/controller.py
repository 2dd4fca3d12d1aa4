"""The daemon in one file: fetch, read, plan, act, report.

Everything it knows can be worked out again from Git and from the engine, so it may be killed at
any instruction. The loop below is woken by anything that may change the plan, and only then
runs; what it does is a function of what it finds, never of what woke it.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from reconciler.backoff import doubled
from reconciler.config.model import Setup
from reconciler.daemon.apply import Acting
from reconciler.daemon.pull_request_planner import Knowledge
from reconciler.daemon.status_store import Reporter
from reconciler.engine import Engine, Run
from reconciler.git.errors import GitError
from reconciler.git.mirror import Mirror
from reconciler.git.sources import Sources
from reconciler.metrics import Metrics
from reconciler.planner import (
    Ledger,
    ObjectStatus,
    Plan,
    PlanCache,
    ResolverCache,
    differing,
    update_cache,
    update_status,
    wanted_results,
)
from reconciler.status.sync import Sync
from reconciler.types import ObjectRef, Problem
from reconciler.workspace.commit_reader import Head, Reader
from reconciler.workspace.planning import effective, make_plan
from reconciler.workspace.remote_clusters import PeerWatch
from reconciler.workspace.source_resolver import SourceLook

log = structlog.get_logger(__name__)

#: Engine events come in bursts; this is how long a burst is waited for, in seconds.
SETTLE = 0.05
#: Is told of the plan, every object's record, and the errors at head, after each sync.
Observer = Callable[[Plan, Mapping[ObjectRef, ObjectStatus], Sequence[Problem]], None]

FETCH_RETRY_FIRST = 1.0
FETCH_RETRY_LONGEST = 60.0


@dataclass(slots=True)
class Wake:
    """What the loop sleeps on: whether to look at the remote, and whether to plan anew.

    A look that finds nothing new asks for no plan.
    """

    event: asyncio.Event = field(default_factory=asyncio.Event)
    fetch: bool = True
    plan: bool = True

    def look(self) -> None:
        """The remote may have changed."""
        self.fetch = True
        self.event.set()

    def replan(self) -> None:
        """Something else that a plan depends on has changed, or time has."""
        self.plan = True
        self.event.set()


class Daemon:
    """One manifest repository, one engine, one status branch."""

    def __init__(
        self,
        setup: Setup,
        *,
        mirror: Mirror,
        sources: Sources,
        engine: Engine,
        reporter: Reporter,
        metrics: Metrics,
        observe: Observer = lambda *_: None,
    ) -> None:
        self._setup = setup
        self._mirror = mirror
        self._sources = sources
        self._engine = engine
        self._reporter = reporter
        self._metrics = metrics
        self._observe = observe
        self._reader = Reader(
            mirror,
            path=setup.config.repository.path,
            namespace=setup.config.kubernetes.namespace,
            clusters=setup.config.clusters,
        )
        self._look = SourceLook(setup, mirror, sources)
        self._peers = PeerWatch(mirror, setup.peer_branches)
        self._head: Head | None = None
        self._noticed: float | None = None
        self._memo = ResolverCache()
        self._settled = PlanCache()
        self._learnt: Mapping[str, Run] = {}
        self._newest: Plan | None = None
        self._recovered = False
        self._fetch_failures = 0
        self.wake = Wake()
        self.synced = asyncio.Event()
        #: What this daemon cannot do now, and why, by what it is.
        self.troubles: dict[str, str] = {}

    async def run(self, *, once: bool = False) -> None:
        """Sync until cancelled; with ``once``, until nothing more can be done.

        Raises GitError, StatusFormatError or WrongBranchError where it cannot begin, and with
        ``once`` GitError where it cannot push what came of it.
        """
        await self._start(once=once)
        try:
            async with asyncio.TaskGroup() as tasks:
                helpers = [tasks.create_task(self._poll()), tasks.create_task(self._report())]
                await self._loop(once=once)
                for helper in helpers:
                    helper.cancel()
            if once:
                await self._reporter.flush()  # what nobody is told of was not done
        except* Exception as group:  # noqa: BLE001 -- it goes on, without the group around it
            # Only one of them can be the cause; the others were cancelled for it.
            raise group.exceptions[0] from None
        finally:
            await self._stop()

    async def _loop(self, *, once: bool) -> None:
        while True:
            plan = await self._sync(strict=once)
            if once and plan is not None and self._finished(plan):
                return
            await self._sleep(plan)

    async def _start(self, *, once: bool) -> None:
        while True:
            try:
                await self._reporter.load()
                break
            except GitError as error:
                if once:
                    raise
                await asyncio.sleep(self._fetch_failed(error))
        self._fetch_failures = 0
        await self._engine.start(self._changed_by_engine)

    async def _stop(self) -> None:
        """Leave runs to a later daemon, and push what is known."""
        gc.unfreeze()
        await self._engine.stop()
        try:
            await self._reporter.flush()
        except GitError as error:
            log.warning("the last status could not be pushed", error=str(error))

    def knowledge(self) -> Knowledge | None:
        """What is known now, for whoever plans something else; None before there is a head."""
        head, reporter = self._head, self._reporter
        if head is None:
            return None
        ledger = reporter.ledger
        return Knowledge(
            head=head.commit,
            records=dict(reporter.records),
            ledger=Ledger(dict(ledger.completed), dict(ledger.failures)),
            runs=dict(self._engine.runs()),
            capacity=self._engine.capacity,
        )

    def _changed_by_engine(self) -> None:
        self.wake.replan()

    # -- one sync --------------------------------------------------------------------------

    async def _sync(self, *, strict: bool) -> Plan | None:
        """Fetch if asked to, then read, plan, act and report.

        Returns the newest plan: the last one where nothing has changed since, None while there
        is no head.
        """
        if self.wake.fetch or self._head is None:
            self.wake.fetch = False
            await self._fetch(strict=strict)
        head = self._head
        if head is None or not self.wake.plan:
            return self._newest
        self.wake.plan = False
        with self._metrics.sync_seconds.time():
            plan = await self._plan(head)
            if not self._recovered:
                plan = await self._recover(head, plan)
            with self._metrics.apply_seconds.time():
                await self._act(head, plan)
        self._noticed = None
        if not self.synced.is_set():
            self.synced.set()
            # What a first sync has read stays, and has no cycles: with 10,000 objects their
            # collector would take a second each time that it looks at them all.
            gc.freeze()
        self._newest = plan
        return plan

    async def _fetch(self, *, strict: bool) -> None:
        looked = time.monotonic()
        try:
            with self._metrics.fetch_seconds.time():
                commit = await asyncio.to_thread(self._mirror.fetch)
            if self._head is None or commit != self._head.commit:
                self._head = await asyncio.to_thread(self._reader.read, commit)
                self._noticed = looked
                self.wake.plan = True
                self._log_head(self._head)
        except GitError as error:
            if strict and self._head is None:
                raise
            delay = self._fetch_failed(error)
            asyncio.get_running_loop().call_later(delay, self.wake.look)
        else:
            self._fetch_failures = 0
            self.troubles.pop("fetch", None)
            self._metrics.last_fetch.set_to_current_time()
            await self._fetch_peers()

    async def _fetch_peers(self) -> None:
        """What other clusters' status says now; nothing of this cluster waits for it."""
        try:
            if await asyncio.to_thread(self._peers.fetch):
                self.wake.plan = True
        except GitError as error:
            self._metrics.failed("peers", error)
            log.warning("other clusters' status cannot be fetched", error=str(error))

    def _fetch_failed(self, error: GitError) -> float:
        """Note it, and say how many seconds to wait before the next try."""
        self._metrics.failed("fetch", error)
        self._fetch_failures += 1
        self.troubles["fetch"] = f"The repository cannot be fetched: {error}"
        delay = doubled(FETCH_RETRY_FIRST, self._fetch_failures - 1, FETCH_RETRY_LONGEST)
        delay *= 1 + random.random() / 4  # noqa: S311 -- a jitter, not a secret
        log.warning("the repository cannot be fetched", error=str(error), retry=round(delay, 1))
        return delay

    def _log_head(self, head: Head) -> None:
        found = head.collection
        bound = log.bind(commit=head.commit[:12])
        bound.info("new head", manifests=len(found.objects), others=found.others)
        for problem in found.problems:
            bound.error("invalid manifest", object=str(problem.object or ""), error=str(problem))

    async def _plan(self, head: Head) -> Plan:
        reporter = self._reporter
        runs = self._engine.runs()
        for name in differing(self._learnt, runs):
            reporter.ledger.learn_run(runs[name])
        self._learnt = dict(runs)
        objects = effective(head, self._reader, reporter.records)
        requests, resolutions = await asyncio.to_thread(self._look.look, objects.manifests, head)
        self._metrics.report_sources(resolutions.values())
        peers = await asyncio.to_thread(self._peers.read, objects.manifests)
        with self._metrics.plan_seconds.time():
            return make_plan(
                head=head,
                objects=objects,
                requests=requests,
                resolutions=resolutions,
                records=reporter.records,
                ledger=reporter.ledger,
                runs=runs,
                capacity=self._engine.capacity,
                settings=self._setup.settings,
                now=datetime.now(UTC),
                peers=peers,
                recorded=reporter.recorded(runs),
                memo=self._memo,
                settled=self._settled,
            )

    async def _recover(self, head: Head, plan: Plan) -> Plan:
        """Without a memory in Git, and only then, results are looked for where they would be."""
        self._recovered = True
        if self._reporter.found_memory:
            return plan
        wanted = wanted_results(plan.situation)
        found = await self._engine.recover(wanted)
        if not found:
            return plan
        tasks = {item.key: item.task for item in wanted}
        for key, result in found.items():
            self._reporter.ledger.complete(key, tasks[key], result)
        log.info("results found that no record names", count=len(found))
        return await self._plan(head)

    # -- acting and reporting --------------------------------------------------------------

    async def _act(self, head: Head, plan: Plan) -> None:
        if plan.released:
            await self._record(head, plan)
            await self._reporter.flush()
        acting = Acting(
            self._engine, self._reporter.ledger, self._metrics, self.wake.replan, self._noticed
        )
        await acting.carry_out(plan)
        await self._record(head, plan)

    async def _record(self, head: Head, plan: Plan) -> None:
        reporter = self._reporter
        unknown = {
            plan.situation.desired[ref].manifest.file
            for ref in plan.decided
            if ref not in reporter.records
        }
        changed = (
            await asyncio.to_thread(self._mirror.last_changed, head.commit, unknown)
            if unknown
            else {}
        )
        wrong = effective(head, self._reader, reporter.records).wrong
        places = {ref: problem.location for ref, problem in wrong.items()}
        records = update_status(plan, changed=changed, places=places)
        before = {
            ref: known.phase
            for ref in (*records, *plan.removed)
            if (known := reporter.records.get(ref)) is not None
        }
        config = self._setup.config
        different = reporter.update(
            records,
            removed=plan.removed,
            sync=Sync(
                cluster=config.cluster,
                instance=config.kubernetes.instance,
                path=config.repository.path,
                head=head.commit,
                observed=datetime.now(UTC).replace(microsecond=0),
                errors=head.collection.problems,
            ),
        )
        self._settled = update_cache(plan, records=reporter.records, changed=different)
        for ref, record in records.items():
            if before.get(ref) != record.phase:
                log.info(
                    "phase",
                    object=str(ref),
                    phase=record.phase.value,
                    reason=record.reason,
                    message=record.message,
                )
        for ref in plan.removed & before.keys():
            log.info("removed", object=str(ref))
        self._metrics.report(
            plan, reporter.records, reporter.phases, errors=len(head.collection.problems)
        )
        self._observe(plan, reporter.records, head.collection.problems)

    # -- waiting ---------------------------------------------------------------------------

    def _finished(self, plan: Plan) -> bool:
        """Whether neither a run that ends nor time that passes can change anything."""
        live = any(run.live for run in self._engine.runs().values())
        moving = plan.endings or plan.creates() or plan.retry_at is not None
        return not live and not moving and not self.wake.event.is_set()

    async def _sleep(self, plan: Plan | None) -> None:
        """Until something happens, a retry is due, or a source should be looked up again."""
        timeout = self._sources.due()
        if plan is not None and plan.retry_at is not None:
            timeout = min(timeout, (plan.retry_at - datetime.now(UTC)).total_seconds())
        try:
            async with asyncio.timeout(max(timeout, SETTLE)):
                await self.wake.event.wait()
        except TimeoutError:
            self.wake.plan = True
        else:
            await asyncio.sleep(SETTLE)
        self.wake.event.clear()

    async def _poll(self) -> None:
        interval = self._setup.config.repository.interval
        while True:
            await asyncio.sleep(interval * (0.9 + random.random() / 5))  # noqa: S311 -- a jitter
            self.wake.look()

    async def _report(self) -> None:
        """Push changes, at most once an interval; a failed push is tried again for ever."""
        interval = self._setup.config.status.interval
        failures = 0
        while True:
            await asyncio.sleep(doubled(interval, failures, max(interval, 60.0)))
            if not self._reporter.dirty:
                continue
            try:
                with self._metrics.push_seconds.time():
                    recorded = await self._reporter.flush()
                failures = 0
                self.troubles.pop("push", None)
                self._metrics.last_push.set_to_current_time()
                if recorded:
                    self.wake.replan()  # older runs can be cleared away
            except GitError as error:
                failures += 1
                self._metrics.failed("push", error)
                self.troubles["push"] = f"The status cannot be pushed: {error}"
                log.warning("status cannot be pushed", error=str(error), failures=failures)
