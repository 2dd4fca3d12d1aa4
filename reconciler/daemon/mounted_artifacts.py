"""Artifacts in buckets that pods alone can reach, collected by Jobs.

A Job takes minutes, and no sync waits for one. So what a collection hides is recorded and pushed
before its Job is created: from then on a plan that asks for it has it restored first. Meanwhile it
is ``restoring`` in the ledger, which is not complete, and nothing is made in its place. A restore
comes before all else: it ends the Job that lists or collects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NoReturn, Protocol, TypeVar

import structlog

from reconciler.backoff import Backoff
from reconciler.daemon.retention_record import CollectionRecord
from reconciler.engine import (
    ArtifactOrder,
    Collected,
    CollectedKind,
    EngineError,
    OrderKind,
    OrderOutcome,
    OrderResult,
    Wanted,
)
from reconciler.engines.local import ArtifactFacts, ArtifactState
from reconciler.planner import Completed, RetainedArtifact, unreadable
from reconciler.reasons import Reason
from reconciler.types import TaskKey

log = structlog.get_logger(__name__)

T = TypeVar("T")
#: Pauses between two tries to restore what could not be restored.
_RETRY = Backoff(first=5.0, longest=600.0)
_GONE = (OrderOutcome.REMOVED, OrderOutcome.GONE)


class BucketJobs(Protocol):
    """Jobs on buckets. An error stands for each artifact that it concerns."""

    async def list_artifacts(
        self, wanted: Iterable[Wanted]
    ) -> Mapping[TaskKey, ArtifactFacts | EngineError | None]:
        """Return the facts of artifacts; None if certainly gone."""
        ...

    async def carry_out(
        self, orders: Sequence[ArtifactOrder]
    ) -> Mapping[TaskKey, OrderResult | EngineError]:
        """Return the outcome of each order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MountedBuckets:
    """The buckets that pods alone can reach, and the Jobs on them.

    ``has`` returns whether a URL is in one of them. ``listed``: a mere report lists them, too.
    """

    jobs: BucketJobs
    has: Callable[[str], bool]
    listed: bool


@dataclass(slots=True, kw_only=True)
class MountedArtifacts:
    """Lists, hides, restores and removes artifacts by Jobs.

    ``lock`` is that of the syncs. ``is_asked_for`` returns whether an artifact must be left alone
    by now. ``restored`` is called when what a plan waits for can be used, or is gone.
    """

    mounted: MountedBuckets | None
    record: CollectionRecord
    lock: asyncio.Lock
    is_asked_for: Callable[[RetainedArtifact], bool]
    restored: Callable[[], None]
    _known: dict[tuple[str, datetime], ArtifactFacts] = field(default_factory=dict)
    #: Keys that are recorded as hidden, and of which no Job has said so yet.
    _unsure: set[TaskKey] = field(default_factory=set)
    _job: asyncio.Task[Any] | None = None
    _jobs: asyncio.Lock = field(default_factory=asyncio.Lock)
    _asked: asyncio.Event = field(default_factory=asyncio.Event)

    def has(self, artifact: RetainedArtifact) -> bool:
        """Return whether an artifact is in a bucket that only pods reach."""
        return not artifact.is_image and self.mounted is not None and self.mounted.has(artifact.url)

    # -- listing ---------------------------------------------------------------------------------

    async def read(
        self, artifacts: Iterable[RetainedArtifact]
    ) -> tuple[dict[TaskKey, ArtifactFacts | None], list[Reason]]:
        """Return the facts of artifacts, and the doubts about others.

        What a marker lists does not change: it is listed again only while it is hidden.
        """
        every = [artifact for artifact in artifacts if self.has(artifact)]
        facts: dict[TaskKey, ArtifactFacts | None] = {
            a.key: self._known[a.url, a.made]
            for a in every
            if a.hidden is None and (a.url, a.made) in self._known
        }
        asked = [w for a in every if a.key not in facts and (w := self._wanted(a)) is not None]
        doubts: dict[Reason, None] = {}
        if asked and self.mounted is not None:
            found = await self._run(self.mounted.jobs.list_artifacts(asked))
            for key, each in (found or {}).items():
                if isinstance(each, EngineError):
                    doubts[unreadable("bucket", "", str(each))] = None
                else:
                    facts[key] = each
            if found is None:
                doubts[unreadable("bucket", "", "an artifact is being restored")] = None
        self._known = {
            (a.url, a.made): each
            for a in every
            if (each := facts.get(a.key)) is not None and each.state is ArtifactState.COMPLETE
        }
        return facts, [*doubts]

    def learn(self, key: TaskKey, facts: ArtifactFacts | None) -> bool:
        """Return whether a complete artifact was recorded as hidden in vain.

        Then its Job did not come to it. No user has taken it back, which would count as made anew.
        """
        unsure = key in self._unsure
        self._unsure.discard(key)
        return unsure and facts is not None and facts.state is ArtifactState.COMPLETE

    def _wanted(self, artifact: RetainedArtifact) -> Wanted | None:
        known = self.record.store.ledger.result(artifact.key)
        return Wanted(known.task, artifact.key, artifact.url) if known is not None else None

    # -- collecting ------------------------------------------------------------------------------

    async def collect(
        self, hide: Iterable[RetainedArtifact], remove: Iterable[RetainedArtifact]
    ) -> list[Collected]:
        """Hide and remove artifacts; return what was removed. Raises GitError."""
        ledger, orders, sizes = self.record.store.ledger, list[ArtifactOrder](), {}
        async with self.lock:
            for kind, artifacts in ((OrderKind.HIDE, hide), (OrderKind.REMOVE, remove)):
                for artifact in artifacts:
                    wanted = self._wanted(artifact)
                    if not self.has(artifact) or wanted is None or self.is_asked_for(artifact):
                        continue
                    if kind is OrderKind.HIDE:
                        self.record.hidden(artifact.key)
                        self._unsure.add(artifact.key)
                    orders.append(ArtifactOrder(kind, wanted))
                    sizes[artifact.key] = artifact
        if not orders or self.mounted is None:
            return []
        await self.record.store.flush()
        # A sync may have asked for one of them since.
        orders = [order for order in orders if order.artifact.key not in ledger.restoring]
        results = await self._run(self.mounted.jobs.carry_out(orders))
        removed: list[Collected] = []
        async with self.lock:
            for key, result in (results or {}).items():
                if key in ledger.restoring or key not in ledger.hidden:
                    continue
                if isinstance(result, EngineError):
                    self.record.failed(result)
                    continue
                if self._note(key, result) and result.outcome is OrderOutcome.REMOVED:
                    made, kind_ = sizes[key].made, CollectedKind.ARTIFACT
                    freed = result.freed
                    removed.append(Collected(kind=kind_, name=key, freed=freed, used=made))
        return removed

    def _note(self, key: TaskKey, result: OrderResult) -> bool:
        """Note what has come of an order; returns False if nothing did."""
        if result.outcome in _GONE:
            self.record.removed(key)
        elif result.outcome is OrderOutcome.COMPLETE:
            self.record.restored(key)
        elif result.outcome is not OrderOutcome.HIDDEN:
            log.warning("an order was not carried out", key=key[:12], outcome=result.outcome.value)
            return False
        self._unsure.discard(key)
        return True

    # -- restoring -------------------------------------------------------------------------------

    def restore(self, key: TaskKey) -> None:
        """Have a hidden artifact restored, before anything is made of it.

        In a sync, which holds the lock.
        """
        self.record.store.ledger.withdraw(key)
        self._asked.set()
        if self._job is not None:
            self._job.cancel()

    async def run(self) -> NoReturn:
        """Restore what syncs ask for, until it is done."""
        failures = 0
        while True:
            await self._asked.wait()
            if await self._restore():
                failures = 0
                continue
            failures += 1
            await asyncio.sleep(_RETRY.delay(failures))

    async def _restore(self) -> bool:
        """Restore what is asked for; returns False without any success."""
        ledger = self.record.store.ledger
        async with self._jobs:
            asked = dict(ledger.restoring)
            results = await self._restored_by_job(asked.values())
        async with self.lock:
            for key, result in results.items():
                if key not in ledger.restoring:
                    continue
                if isinstance(result, EngineError):
                    self.record.failed(result)
                else:
                    self._note(key, result)
            if not ledger.restoring:
                self._asked.clear()
            done = asked.keys() - ledger.restoring.keys()
            if done:
                self.restored()
        return bool(done) or not ledger.restoring

    async def _restored_by_job(
        self, asked: Iterable[Completed]
    ) -> Mapping[TaskKey, OrderResult | EngineError]:
        if self.mounted is None:
            return {}
        wanted = (Wanted(each.task, each.key, each.result.url) for each in asked)
        orders = [ArtifactOrder(OrderKind.RESTORE, each) for each in wanted]
        return await self.mounted.jobs.carry_out(orders)

    async def _run(self, job: Coroutine[Any, Any, T]) -> T | None:
        """Run a Job; None if a restore comes first."""
        async with self._jobs:
            if self._asked.is_set():
                job.close()
                return None
            self._job = asyncio.create_task(job)
            try:
                await asyncio.wait([self._job])
                return None if self._job.cancelled() else self._job.result()
            finally:
                # Of a collection that is cancelled its Job is, too.
                self._job.cancel()
                await asyncio.gather(self._job, return_exceptions=True)
                self._job = None
