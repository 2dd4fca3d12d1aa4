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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import NoReturn

import structlog

from reconciler.backoff import Backoff
from reconciler.daemon.bucket_parts import BucketPart, BucketParts, MountedBuckets
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
)
from reconciler.engines.local import ArtifactFacts, ArtifactState
from reconciler.git import GitError
from reconciler.planner import Completed, RetainedArtifact
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import TaskKey

log = structlog.get_logger(__name__)

#: Pauses between two tries to restore what could not be restored.
_RETRY = Backoff(first=5.0, longest=600.0)
_GONE = (OrderOutcome.REMOVED, OrderOutcome.GONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class MountedFacts:
    """The facts of artifacts, as listed.

    ``unread`` are those of which there is no list, with what one has said before: an artifact's
    inputs do not change. ``reasons`` say why.
    """

    facts: Mapping[TaskKey, ArtifactFacts | None]
    unread: Mapping[TaskKey, ArtifactFacts | None]
    reasons: Sequence[Reason]


@dataclass(slots=True, kw_only=True)
class MountedArtifacts:
    """Lists, hides, restores and removes artifacts by Jobs.

    ``lock`` is that of the syncs. ``is_asked_for`` returns whether an artifact must be left alone
    by now. ``restored`` is called when what a plan waits for can be used, or is gone, or waits for
    another cause.
    """

    mounted: MountedBuckets | None
    record: CollectionRecord
    lock: asyncio.Lock
    is_asked_for: Callable[[RetainedArtifact], bool]
    restored: Callable[[], None]
    _known: dict[tuple[str, datetime], ArtifactFacts] = field(default_factory=dict)
    #: What was last said of each artifact, hidden or not.
    _said: dict[TaskKey, ArtifactFacts] = field(default_factory=dict)
    _parts: BucketParts = field(default_factory=BucketParts)
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
        jobs = self.mounted.jobs
        facts: dict[TaskKey, ArtifactFacts | None] = {}
        reasons: dict[Reason, None] = {}

        async def one(part: BucketPart, items: Sequence[Wanted]) -> None:
            found = await part.run(lambda: jobs.list_artifacts(items))
            for key, each in (found or {}).items():
                if isinstance(each, EngineError):
                    reasons[_kept(part, str(each))] = None
                else:
                    facts[key] = each
            if found is None:
                reasons[_kept(part, "an artifact is being restored there")] = None

        await self._parts.each(one, wanted, _itself)
        self._said |= {key: each for key, each in facts.items() if each is not None}
        return facts, [*reasons]

    def _wanted(self, artifact: RetainedArtifact) -> Wanted | None:
        known = self.record.store.ledger.result(artifact.key)
        return Wanted(known.task, artifact.key, artifact.url) if known is not None else None

    # -- collecting ------------------------------------------------------------------------------

    async def collect(
        self, hide: Iterable[RetainedArtifact], remove: Iterable[RetainedArtifact]
    ) -> list[Collected]:
        """Hide and remove artifacts; return what was removed. Raises GitError."""
        hide = [*hide]
        await self._probe(hide)
        async with self.lock:
            ordered = [*self._orders(hide, remove)]
        if not ordered:
            return []
        orders = [order for order, _ in ordered]
        made = {order.artifact.key: artifact.made for order, artifact in ordered}
        try:
            await self.record.store.flush()
        except GitError:
            async with self.lock:
                for order in orders:
                    self._left(self._parts.of(order.artifact), order.artifact.key)
            raise
        removed: list[Collected] = []

        async def one(part: BucketPart, orders: Sequence[ArtifactOrder]) -> None:
            for begin in range(0, len(orders), MOST_ORDERS):
                some = orders[begin : begin + MOST_ORDERS]
                for key, freed in await self._collected(part, some):
                    kind = CollectedKind.ARTIFACT
                    removed.append(Collected(kind=kind, name=key, freed=freed, used=made[key]))
            if part.unsure:
                await part.run(lambda: self._settle(part))

        await self._parts.each(one, orders, lambda order: order.artifact)
        return removed

    def _orders(
        self, hide: Iterable[RetainedArtifact], remove: Iterable[RetainedArtifact]
    ) -> Iterator[tuple[ArtifactOrder, RetainedArtifact]]:
        """Yield the orders of a collection, and record what they hide."""
        kinds = [(OrderKind.HIDE, a) for a in hide] + [(OrderKind.REMOVE, a) for a in remove]
        for kind, artifact in kinds:
            wanted = self._wanted(artifact)
            if not self.has(artifact) or wanted is None or self.is_asked_for(artifact):
                continue
            part = self._parts.of(wanted)
            if part.is_restoring or (part.refused and kind is OrderKind.HIDE):
                continue
            if kind is OrderKind.HIDE:
                self.record.hidden(artifact.key)
                part.unsure[artifact.key] = wanted
            yield ArtifactOrder(kind, wanted), artifact

    async def _collected(
        self, part: BucketPart, orders: Sequence[ArtifactOrder]
    ) -> list[tuple[TaskKey, int]]:
        """Carry out orders; return what was removed, and its bytes."""
        assert self.mounted is not None
        jobs, ledger = self.mounted.jobs, self.record.store.ledger
        # A sync may have asked for one of them since, and a list have found it not hidden.
        wanted = ledger.hidden.keys() - ledger.restoring.keys()
        orders = [order for order in orders if order.artifact.key in wanted]
        results = await part.run(lambda: jobs.carry_out(orders)) if orders else None
        removed: list[tuple[TaskKey, int]] = []
        async with self.lock:
            part.learn(results or {})
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
        return True

    async def _probe(self, hide: Sequence[RetainedArtifact]) -> None:
        """Try out parts that refused a pod, before anything is hidden there."""
        wanted = [w for a in hide if self.has(a) and (w := self._wanted(a)) is not None]

        async def one(part: BucketPart, artifacts: Sequence[Wanted]) -> None:
            if part.refused is None:
                return
            could = await part.run(lambda: self._could(artifacts[0]))
            if could:
                part.refused = None

        await self._parts.each(one, wanted, _itself)

    async def _could(self, artifact: Wanted) -> bool:
        """Return whether orders can be carried out by now."""
        assert self.mounted is not None
        return await self.mounted.jobs.probe(artifact) is None

    async def _settle(
        self, part: BucketPart, asked: Mapping[TaskKey, Wanted] = MappingProxyType({})
    ) -> dict[TaskKey, OrderResult]:
        """List artifacts in doubt; return those asked for that are complete.

        An artifact that its Job did not come to is not hidden. This is looked at once: later, what
        is complete was taken back by a user.
        """
        assert self.mounted is not None
        found = await self.mounted.jobs.list_artifacts({**part.unsure, **asked}.values())
        said = {k: each for k, each in found.items() if isinstance(each, ArtifactFacts)}
        complete = {k for k, each in said.items() if each.state is ArtifactState.COMPLETE}
        async with self.lock:
            self._said |= said
            for key in [*part.unsure]:
                if key in complete:
                    self._left(part, key)
            part.unsure.clear()
        return {key: OrderResult(OrderOutcome.COMPLETE) for key in complete & asked.keys()}

    def _left(self, part: BucketPart, key: TaskKey) -> None:
        """Note that an artifact was not hidden after all."""
        ledger = self.record.store.ledger
        unsure = part.unsure.pop(key, None) is not None
        if unsure and key in ledger.hidden and key not in ledger.restoring:
            self.record.left(key)

    def refusals(self) -> list[Reason]:
        """Return why nothing is hidden in some parts of buckets."""
        return [_kept(p, str(p.refused)) for p in self._parts if p.refused is not None]

    # -- restoring -------------------------------------------------------------------------------

    def restore(self, key: TaskKey) -> None:
        """Have a hidden artifact restored, before anything is made of it.

        In a sync, which holds the lock.
        """
        ledger = self.record.store.ledger
        ledger.withdraw(key)
        if key in ledger.restoring:
            part = self._parts.of(_artifact(ledger.restoring[key]))
            part.asked.set()
            part.give_way()
            self._asked.set()

    async def run(self) -> NoReturn:
        """Restore artifacts that syncs ask for, a task for each part."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._asked.wait()
                self._asked.clear()
                for part in self._parts:
                    if part.asked.is_set() and not part.restores:
                        part.restores = True
                        tasks.create_task(self._restore(part))

    async def _restore(self, part: BucketPart) -> None:
        """Restore what is asked for in a part, until it is done."""
        failures = 0
        try:
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
        finally:
            part.restores = False

    def _restoring(self, part: BucketPart) -> list[Completed]:
        divided = self._parts.divided(self.record.store.ledger.restoring.values(), _artifact)
        return next((found for each, found in divided if each is part), [])

    async def _restored(self, part: BucketPart, asked: Sequence[Completed]) -> bool:
        """Restore artifacts of a part; returns False without any success."""
        assert self.mounted is not None
        ledger = self.record.store.ledger
        part.give_way()
        async with part.jobs:
            results = await self._restored_by_jobs(part, {a.key: _artifact(a) for a in asked})
        new = False
        async with self.lock:
            for key, result in results.items():
                if key not in ledger.restoring:
                    continue
                if isinstance(result, EngineError):
                    self.record.failed(result)
                    new |= ledger.obstruct(key, result.reason)
                else:
                    self._note(key, result)
            done = any(each.key not in ledger.restoring for each in asked)
            if done or new:
                self.restored()
        return done

    async def _restored_by_jobs(
        self, part: BucketPart, asked: Mapping[TaskKey, Wanted]
    ) -> dict[TaskKey, OrderResult | EngineError]:
        """Restore artifacts; what a list finds complete needs no Job that writes."""
        assert self.mounted is not None
        found: dict[TaskKey, OrderResult | EngineError] = {}
        if part.refused or part.unsure:
            found |= await self._settle(part, asked)
        rest = [ArtifactOrder(OrderKind.RESTORE, w) for key, w in asked.items() if key not in found]
        if rest:
            results = await self.mounted.jobs.carry_out(rest)
            part.learn(results)
            found |= results
            failed = {k: asked[k] for k, each in results.items() if isinstance(each, EngineError)}
            if failed:
                found |= await self._settle(part, failed)
        return found


def _itself(wanted: Wanted) -> Wanted:
    return wanted


def _artifact(known: Completed) -> Wanted:
    return Wanted(known.task, known.key, known.result.url)


def _kept(part: BucketPart, detail: str) -> Reason:
    return Reason.of(ReasonCode.ARTIFACTS_KEPT, folder=part.url, detail=detail)
