"""Tries of one object with other params, without a commit.

A try reads what a sync reads, and plans the object alone with what that needs. What the commit asks
for as well runs as in a sync, and the next one takes it over. What only the change asks for has a
key of its own: the marker of such an artifact says ``local``, and neither the status branch nor a
later daemon knows of its run. Nothing is pushed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from reconciler.backoff import Backoff
from reconciler.config import Setup
from reconciler.daemon.bucket_listings import BucketListings
from reconciler.daemon.once import OncePatience
from reconciler.daemon.plan_executor import PlanExecutor
from reconciler.daemon.plan_reporter import Observer
from reconciler.daemon.shutdown import run_until
from reconciler.daemon.status_store import StatusStore
from reconciler.daemon.wake import Wake
from reconciler.engine import EngineError
from reconciler.engines.local import LocalEngine, TryEngine
from reconciler.errors import UsageFault
from reconciler.git import Mirror, Sources, end_running
from reconciler.manifests import Manifest, ParamChange, changed
from reconciler.metrics import Metrics
from reconciler.planner import ObjectStatus, artifacts_in_use, update_status
from reconciler.types import ObjectRef, TaskKey
from reconciler.workspace import (
    CommitPlanner,
    CommitReader,
    CommitSnapshot,
    PlannedCommit,
    PlanState,
    RemoteStatusReader,
    SourceResolver,
    head_verification,
)

#: Seconds between two looks whether the runs of a try have ended.
_ENDING = Backoff(first=0.05, longest=1.0)
#: Looks after which a run that does not end is left to the next start of the engine.
_MOST_LOOKS = 60

#: Selects the object of a try among those of the commit, by the records of the status branch too.
#: Raises ReconcilerError.
Select = Callable[[CommitSnapshot, Mapping[ObjectRef, ObjectStatus]], ObjectRef]


@dataclass(slots=True, kw_only=True)
class LocalTry:
    """One try, with the parts of a daemon that it uses."""

    setup: Setup
    mirror: Mirror
    sources: Sources
    engine: LocalEngine
    store: StatusStore
    select: Select
    changes: tuple[ParamChange, ...]
    observe: Observer
    #: The object, once it is selected, and the keys that only the change asks for.
    ref: ObjectRef | None = None
    local: frozenset[TaskKey] = frozenset()
    _remote: RemoteStatusReader = field(init=False)

    def __post_init__(self) -> None:
        self._remote = RemoteStatusReader(self.mirror, self.setup.cluster_branches)

    async def run(self, once: OncePatience) -> None:
        """Run what is missing, and forget the runs of the try.

        Raises GitError, EngineError, UsageFault and what ``select`` raises.
        """
        await self.store.load()
        engine, wake = TryEngine(self.engine), Wake()
        listings = BucketListings(
            engine.list_data,
            interval=self.setup.config.sources.interval,
            changed=wake.replan,
            patience=self.sources.patience,
        )
        planner = self._planner(listings)
        head = await asyncio.to_thread(self._head, planner)
        listings.start()
        try:
            planned, committed = self._planners(head, planner)
            await engine.start(wake.replan)
            try:
                await self._sync(planned, committed, engine, wake, listings, once)
            finally:
                await _forget(engine)
                await engine.stop()
        finally:
            await listings.stop()

    def _planner(self, listings: BucketListings) -> CommitPlanner:
        """Return the planner of the commit and of its change."""
        return CommitPlanner(
            CommitReader.from_setup(self.mirror, self.setup),
            settings=self.setup.settings,
            sources=SourceResolver(
                self.mirror,
                self.setup.repository_url,
                self.setup.sources_allow,
                remote=lambda wanted, urls: self.sources.resolve(wanted, refresh=urls),
                buckets=listings.resolve,
                recorded=True,
            ),
            remote=self._remote.read,
        )

    def _head(self, planner: CommitPlanner) -> CommitSnapshot:
        """Fetch and read the commit in force. Raises GitError."""
        head = self.mirror.fetch()
        verification = head_verification(self.setup, self.mirror)
        if verification is not None:
            head = verification.resolve(head, self.store.head).commit
        return planner.read(head)

    def _planners(
        self, head: CommitSnapshot, planner: CommitPlanner
    ) -> tuple[_TryPlanner, _TryPlanner]:
        """Return the planner of the change, and that of the commit."""
        self.ref = ref = self.select(head, self.store.records)
        objects = head.collection.objects
        manifest = changed(objects[ref], self.changes)
        if manifest.document == objects[ref].document:
            raise UsageFault(
                f"--set changes nothing: {ref} has these params; `reconciler run --once` makes it"
            )
        if self.setup.cluster_branches:
            self._remote.update(self.mirror.fetch_tips())
        committed = {each: objects[each] for each in _needed(ref, objects) if each in objects}
        return (
            _TryPlanner(planner, _only(head, {**committed, ref: manifest})),
            _TryPlanner(planner, _only(head, committed)),
        )

    async def _sync(
        self,
        planner: _TryPlanner,
        committed: _TryPlanner,
        engine: TryEngine,
        wake: Wake,
        listings: BucketListings,
        once: OncePatience,
    ) -> None:
        """Plan and apply until nothing more can be done."""
        metrics, ledger = Metrics(), self.store.ledger
        records = {
            ref: record
            for ref, record in self.store.records.items()
            if ref in planner.snapshot.collection.objects
        }
        checked: frozenset[TaskKey] = frozenset()
        while True:
            began = time.monotonic()
            wake.event.clear()
            ledger.learn_runs(engine.runs())
            state = PlanState(
                records=records,
                ledger=ledger,
                runs={},
                capacity=engine.capacity,
                now=datetime.now(UTC),
            )
            engine.committed = committed_keys = await asyncio.to_thread(committed.keys, state)
            engine.wanted = wanted_keys = await asyncio.to_thread(planner.keys, state)
            self.local = wanted_keys - committed_keys
            ledger.learn_runs(engine.runs())
            state = replace(state, runs=engine.runs())
            planned = await asyncio.to_thread(planner.plan, state)
            used = artifacts_in_use(planned.plan, all_current=True)
            lost = await engine.lost([each for each in used if each.key not in checked])
            checked |= {each.key for each in used}
            if lost:
                for key in lost:
                    ledger.lose(key, state.now)
                continue
            executor = PlanExecutor(engine, ledger, metrics, wake.replan, None)
            await executor.apply(planned.plan)
            updated = update_status(planned.plan, changed={}, places={})
            records |= updated
            for record in updated.values():
                ledger.learn_image_keys(record)
            self.observe(planned.plan, records, planned.resolved.objects.errors)
            if wake.event.is_set():
                continue
            retry_at = planned.plan.retry_at
            left = once.left(
                planned.plan,
                engine.runs(),
                began=began,
                retry=(retry_at - state.now).total_seconds() if retry_at is not None else 0.0,
                source=min(self.sources.due(), listings.due()),
            )
            if left is None:
                return
            due = min(left, self.sources.due(), listings.due())
            if retry_at is not None:
                due = min(due, (retry_at - state.now).total_seconds())
            try:
                async with asyncio.timeout(max(due, 0.0)):
                    await wake.event.wait()
            except TimeoutError:
                pass


@dataclass(frozen=True, slots=True)
class _TryPlanner:
    """A planner of some objects of one commit."""

    planner: CommitPlanner
    snapshot: CommitSnapshot

    def plan(self, state: PlanState) -> PlannedCommit:
        """Plan on a state."""
        resolved = self.planner.resolve(self.snapshot, state.records)
        return self.planner.plan(resolved, state)

    def keys(self, state: PlanState) -> frozenset[TaskKey]:
        """Return the keys that a plan asks for."""
        decisions = self.plan(state).plan.decisions
        return frozenset(each.task.key for each in decisions if each.task.key is not None)


async def run_try(attempt: LocalTry, *, once: OncePatience, stop: asyncio.Event) -> None:
    """Run a try until its end, or until ``stop`` is set.

    Raises as :meth:`LocalTry.run` does.
    """
    try:
        await run_until(stop, attempt.run(once))
    finally:
        end_running()


async def _forget(engine: TryEngine) -> None:
    """End the runs of a try, or leave them behind."""
    for look in range(_MOST_LOOKS):
        try:
            if await engine.forget():
                return
        except EngineError:
            return
        await asyncio.sleep(_ENDING.delay(look + 1))


def _only(head: CommitSnapshot, manifests: dict[ObjectRef, Manifest]) -> CommitSnapshot:
    """Return a commit as if it had these objects alone."""
    collection = replace(
        head.collection,
        objects=manifests,
        problems=(),
        invalid=frozenset(),
        unreadable=(),
        doubts=(),
    )
    return replace(
        head, collection=collection, documents=len(manifests), unreadable=None, tenant_unreadable={}
    )


def _needed(ref: ObjectRef, objects: dict[ObjectRef, Manifest]) -> list[ObjectRef]:
    """Return an object and all that it refers to, directly or not."""
    found: dict[ObjectRef, None] = {}
    waiting = [ref]
    while waiting:
        each = waiting.pop()
        if each in found:
            continue
        found[each] = None
        manifest = objects.get(each)
        for target, _, _ in manifest.references if manifest is not None else ():
            if isinstance(target, ObjectRef):
                waiting.append(target)
    return list(found)
