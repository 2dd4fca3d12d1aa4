"""Parts of buckets that pods alone can reach, and Jobs on them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from reconciler.engine import (
    ArtifactOrder,
    EngineError,
    JobEndedError,
    OrderOutcome,
    OrderResult,
    PodRefusedError,
    Wanted,
    bucket_part,
)
from reconciler.engines.local import ArtifactFacts
from reconciler.types import TaskKey

#: Parts of buckets that are listed, or collected in, at a time.
_AT_ONCE = 8

T = TypeVar("T")
Item = TypeVar("Item")


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

    async def probe(self, artifact: Wanted) -> EngineError | None:
        """Return why no orders can be carried out there, or None."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MountedBuckets:
    """The buckets that pods alone can reach, and the Jobs on them.

    ``has`` returns whether a URL is in one of them. ``listed``: a mere report lists them, too.
    """

    jobs: BucketJobs
    has: Callable[[str], bool]
    listed: bool


@dataclass(slots=True)
class BucketPart:
    """A namespace's part of a bucket, and its Job.

    ``asked``: a restore is asked for, and not begun. ``restores``: a task restores there.
    ``refused`` is why the last Job with orders got no pod. ``unsure`` are recorded as hidden, and
    no Job has said so yet.
    """

    url: str
    jobs: asyncio.Lock = field(default_factory=asyncio.Lock)
    job: asyncio.Future[Any] | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    restores: bool = False
    refused: PodRefusedError | None = None
    unsure: dict[TaskKey, Wanted] = field(default_factory=dict)

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

    def learn(self, results: Mapping[TaskKey, OrderResult | EngineError]) -> None:
        """Learn from the outcomes of orders."""
        for key, result in results.items():
            if isinstance(result, PodRefusedError):
                self.refused = result
            elif isinstance(result, OrderResult):
                self.refused = None
                if result.outcome not in (OrderOutcome.LATE, OrderOutcome.FAILED):
                    self.unsure.pop(key, None)
            elif isinstance(result, JobEndedError):
                # Whoever did so may have restored: what is found complete later is theirs.
                self.unsure.pop(key, None)

    def give_way(self) -> None:
        """End the Job that lists or collects."""
        if self.job is not None:
            self.job.cancel()


@dataclass(slots=True)
class BucketParts:
    """The parts of buckets, by their URLs."""

    _parts: dict[str, BucketPart] = field(default_factory=dict)

    def __iter__(self) -> Iterator[BucketPart]:
        return iter([*self._parts.values()])

    def of(self, artifact: Wanted) -> BucketPart:
        """Return the part that an artifact is in."""
        ((part, _),) = self.divided([artifact], lambda it: it)
        return part

    def divided(
        self, items: Iterable[Item], wanted: Callable[[Item], Wanted]
    ) -> list[tuple[BucketPart, list[Item]]]:
        """Divide what concerns artifacts by their parts."""
        found: dict[str, list[Item]] = defaultdict(list)
        for item in items:
            place = bucket_part(wanted(item))
            if place is not None:
                found[place[0]].append(item)
        return [(self._parts.setdefault(url, BucketPart(url)), own) for url, own in found.items()]

    async def each(
        self,
        work: Callable[[BucketPart, Sequence[Item]], Awaitable[None]],
        items: Iterable[Item],
        wanted: Callable[[Item], Wanted],
    ) -> None:
        """Work on the items of each part, some parts at a time."""
        places = asyncio.Semaphore(_AT_ONCE)

        async def one(part: BucketPart, own: Sequence[Item]) -> None:
            async with places:
                await work(part, own)

        await asyncio.gather(*(one(part, own) for part, own in self.divided(items, wanted)))
