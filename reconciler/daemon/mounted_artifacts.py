"""Artifacts in buckets that pods alone can reach, collected by Jobs.

A Job takes minutes, and no sync waits for one. So what a collection hides is recorded and pushed
before its Job is created: from then on a plan that asks for it has it restored first. Meanwhile it
is ``restoring`` in the ledger, which is not complete, and nothing is made in its place.

There is one Job at a time for each namespace's part of a bucket, and none waits for another part's:
a namespace may be unable to start pods. In its part a restore comes before all else, and ends the
Job that lists or collects.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NoReturn, Protocol, TypeVar

import structlog

from reconciler.backoff import Backoff
from reconciler.daemon.retention_record import CollectionRecord
from reconciler.engine import (
    MOST_ORDERS,
    ArtifactOrder,
    Collected,
    CollectedKind,
    EngineError,
    OrderKind,
    OrderOutcome,
    OrderResult,
    Wanted,
    bucket_part,
)
from reconciler.engines.local import ArtifactFacts, ArtifactState
from reconciler.planner import Completed, RetainedArtifact
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import TaskKey

log = structlog.get_logger(__name__)

T = TypeVar("T")
Item = TypeVar("Item")
#: Pauses between two tries to restore what could not be restored.
_RETRY = Backoff(first=5.0, longest=600.0)
#: Parts of buckets that are listed, or collected in, at a time.
_AT_ONCE = 8
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


@dataclass(frozen=True, slots=True, kw_only=True)
class MountedFacts:
    """The facts of artifacts, as listed.

    ``unread`` are those of which there is no list, with what one has said before: an artifact's
    inputs do not change. ``reasons`` say why.
    """

    facts: Mapping[TaskKey, ArtifactFacts | None]
    unread: Mapping[TaskKey, ArtifactFacts | None]
    reasons: Sequence[Reason]


@dataclass(slots=True)
class _Part:
    """A namespace's part of a bucket, and its Job.

    ``asked``: a restore is asked for, and not begun. ``restores``: a task restores there.
    """

    url: str
    jobs: asyncio.Lock = field(default_factory=asyncio.Lock)
    job: asyncio.Future[Any] | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    restores: bool = False

    @property
    def is_restoring(self) -> bool:
        """True while a restore is asked for, or under way."""
        return self.restores or self.asked.is_set()

    async def run(self, job: Callable[[], Awaitable[T]]) -> T | None:
        """Run a Job; None if a restore comes first."""
        if self.asked.is_set() or self.jobs.locked():
            return None
        async with self.jobs:
            self.job = asyncio.ensure_future(job())
            try:
                await asyncio.wait([self.job])
                return None if self.job.cancelled() else self.job.result()
            finally:
                # Of a collection that is cancelled its Job is, too.
                self.job.cancel()
                await asyncio.gather(self.job, return_exceptions=True)
                self.job = None

    def give_way(self) -> None:
        """End the Job that lists or collects."""
        if self.job is not None:
            self.job.cancel()


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
    #: What was last said of each artifact, hidden or not.
    _said: dict[TaskKey, ArtifactFacts] = field(default_factory=dict)
    #: Keys that are recorded as hidden, and of which no Job has said so yet.
    _unsure: set[TaskKey] = field(default_factory=set)
    _parts: dict[str, _Part] = field(default_factory=dict)
    _asked: asyncio.Event = field(default_factory=asyncio.Event)

    def has(self, artifact: RetainedArtifact) -> bool:
        """Return whether an artifact is in a bucket that only pods reach."""
        return not artifact.is_image and self.mounted is not None and self.mounted.has(artifact.url)

    # -- listing ---------------------------------------------------------------------------------

    async def read(self, artifacts: Iterable[RetainedArtifact]) -> MountedFacts:
        """Return the facts of artifacts, by a Job in each part.

        What a marker lists does not change: it is listed again only while it is hidden.
        """
        every = [artifact for artifact in artifacts if self.has(artifact)]
        facts: dict[TaskKey, ArtifactFacts | None] = {
            a.key: self._known[a.url, a.made]
            for a in every
            if a.hidden is None and (a.url, a.made) in self._known
        }
        asked = [w for a in every if a.key not in facts and (w := self._wanted(a)) is not None]
        listed, reasons = await self._listed(asked)
        facts |= listed
        restoring = self.record.store.ledger.restoring.keys()
        known = restoring | {artifact.key for artifact in every}
        self._said = {key: each for key, each in self._said.items() if key in known}
        self._known = {
            (a.url, a.made): each
            for a in every
            if (each := facts.get(a.key)) is not None and each.state is ArtifactState.COMPLETE
        }
        unread = {key: self._said.get(key) for key in sorted(known - facts.keys())}
        return MountedFacts(facts=facts, unread=unread, reasons=reasons)

    async def _listed(
        self, wanted: Iterable[Wanted]
    ) -> tuple[dict[TaskKey, ArtifactFacts | None], list[Reason]]:
        if self.mounted is None:
            return {}, []
        jobs, places = self.mounted.jobs, asyncio.Semaphore(_AT_ONCE)
        facts: dict[TaskKey, ArtifactFacts | None] = {}
        reasons: dict[Reason, None] = {}

        async def one(part: _Part, items: Sequence[Wanted]) -> None:
            async with places:
                found = await part.run(lambda: jobs.list_artifacts(items))
            for key, each in (found or {}).items():
                if isinstance(each, EngineError):
                    reasons[_kept(part, str(each))] = None
                else:
                    facts[key] = each
            if found is None:
                reasons[_kept(part, "an artifact is being restored there")] = None

        divided = self._divided(wanted, _itself)
        await asyncio.gather(*(one(part, items) for part, items in divided))
        self._said |= {key: each for key, each in facts.items() if each is not None}
        return facts, [*reasons]

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

    def _divided(
        self, items: Iterable[Item], wanted: Callable[[Item], Wanted]
    ) -> list[tuple[_Part, list[Item]]]:
        """Divide what concerns artifacts by the parts of buckets."""
        found: dict[str, list[Item]] = defaultdict(list)
        for item in items:
            place = bucket_part(wanted(item))
            if place is not None:
                found[place[0]].append(item)
        return [(self._parts.setdefault(url, _Part(url)), each) for url, each in found.items()]

    # -- collecting ------------------------------------------------------------------------------

    async def collect(
        self, hide: Iterable[RetainedArtifact], remove: Iterable[RetainedArtifact]
    ) -> list[Collected]:
        """Hide and remove artifacts; return what was removed. Raises GitError."""
        orders, made = list[ArtifactOrder](), dict[TaskKey, datetime]()
        async with self.lock:
            for kind, artifacts in ((OrderKind.HIDE, hide), (OrderKind.REMOVE, remove)):
                for artifact in artifacts:
                    wanted = self._wanted(artifact)
                    if not self.has(artifact) or wanted is None or self.is_asked_for(artifact):
                        continue
                    if any(part.is_restoring for part, _ in self._divided([wanted], _itself)):
                        continue
                    if kind is OrderKind.HIDE:
                        self.record.hidden(artifact.key)
                        self._unsure.add(artifact.key)
                    orders.append(ArtifactOrder(kind, wanted))
                    made[artifact.key] = artifact.made
        if not orders:
            return []
        await self.record.store.flush()
        places, removed = asyncio.Semaphore(_AT_ONCE), list[Collected]()

        async def one(part: _Part, orders: Sequence[ArtifactOrder]) -> None:
            async with places:
                for begin in range(0, len(orders), MOST_ORDERS):
                    some = orders[begin : begin + MOST_ORDERS]
                    for key, freed in await self._collected(part, some):
                        kind = CollectedKind.ARTIFACT
                        found = Collected(kind=kind, name=key, freed=freed, used=made[key])
                        removed.append(found)

        divided = self._divided(orders, lambda order: order.artifact)
        await asyncio.gather(*(one(part, some) for part, some in divided))
        return removed

    async def _collected(
        self, part: _Part, orders: Sequence[ArtifactOrder]
    ) -> list[tuple[TaskKey, int]]:
        """Carry out orders; return what was removed, and its bytes."""
        assert self.mounted is not None
        jobs, ledger = self.mounted.jobs, self.record.store.ledger
        # A sync may have asked for one of them since.
        orders = [order for order in orders if order.artifact.key not in ledger.restoring]
        results = await part.run(lambda: jobs.carry_out(orders)) if orders else None
        removed: list[tuple[TaskKey, int]] = []
        async with self.lock:
            for key, result in (results or {}).items():
                if key in ledger.restoring or key not in ledger.hidden:
                    continue
                if isinstance(result, EngineError):
                    self.record.failed(result)
                elif self._note(key, result) and result.outcome is OrderOutcome.REMOVED:
                    removed.append((key, result.freed))
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
        ledger = self.record.store.ledger
        ledger.withdraw(key)
        if key in ledger.restoring:
            for part, _ in self._divided([ledger.restoring[key]], _artifact):
                part.asked.set()
                part.give_way()
            self._asked.set()

    async def run(self) -> NoReturn:
        """Restore artifacts that syncs ask for, a task for each part."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._asked.wait()
                self._asked.clear()
                for part in self._parts.values():
                    if part.asked.is_set() and not part.restores:
                        part.restores = True
                        tasks.create_task(self._restore(part))

    async def _restore(self, part: _Part) -> None:
        """Restore what is asked for in a part, until it is done."""
        failures = 0
        while asked := self._restoring(part):
            part.asked.clear()
            if await self._restored(part, asked):
                failures = 0
                continue
            failures += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(_RETRY.delay(failures)):
                    await part.asked.wait()
        part.asked.clear()
        part.restores = False

    def _restoring(self, part: _Part) -> list[Completed]:
        divided = self._divided(self.record.store.ledger.restoring.values(), _artifact)
        return next((found for each, found in divided if each is part), [])

    async def _restored(self, part: _Part, asked: Sequence[Completed]) -> bool:
        """Restore artifacts of a part; returns False without any success."""
        assert self.mounted is not None
        ledger = self.record.store.ledger
        orders = [ArtifactOrder(OrderKind.RESTORE, _artifact(each)) for each in asked]
        part.give_way()
        async with part.jobs:
            results = await self.mounted.jobs.carry_out(orders)
        async with self.lock:
            for key, result in results.items():
                if key not in ledger.restoring:
                    continue
                if isinstance(result, EngineError):
                    self.record.failed(result)
                else:
                    self._note(key, result)
            done = any(each.key not in ledger.restoring for each in asked)
            if done:
                self.restored()
        return done


def _itself(wanted: Wanted) -> Wanted:
    return wanted


def _artifact(known: Completed) -> Wanted:
    return Wanted(known.task, known.key, known.result.url)


def _kept(part: _Part, detail: str) -> Reason:
    return Reason.of(ReasonCode.ARTIFACTS_KEPT, folder=part.url, detail=detail)
