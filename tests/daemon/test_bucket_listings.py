"""Listings beside the loop: their interval, and what counts as a change."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from reconciler.daemon.bucket_listings import AT_ONCE, SETTLE, BucketListings
from reconciler.engine import EngineError
from reconciler.reasons import Reason, ReasonCode, UnresolvedSource, message
from reconciler.types import BucketSource, DataListing, ListingDigest

DATA = BucketSource("file:///data", "default")
INTERVAL = 300.0


def listing(name: str) -> DataListing:
    return DataListing(ListingDigest(name * 40), files=1, size=1)


@dataclass
class Bench:
    """Folders that a test fills, and a clock that it sets."""

    folders: dict[str, str | None] = field(default_factory=lambda: {DATA.url: "a"})
    now: float = 1000.0
    taken: list[str] = field(default_factory=list)
    changes: int = 0
    gate: asyncio.Event | None = None
    most: int = 0
    under_way: int = 0

    def __post_init__(self) -> None:
        self.listings = BucketListings(
            self.take, interval=INTERVAL, changed=self.change, patience=0.01, clock=lambda: self.now
        )

    def change(self) -> None:
        self.changes += 1

    async def take(self, source: BucketSource) -> DataListing:
        self.taken.append(source.url)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        if self.gate is not None:
            await self.gate.wait()
        self.under_way -= 1
        name = self.folders[source.url]
        if name is None:
            detail = "it is gone"
            raise EngineError(Reason.of(ReasonCode.SOURCE_UNAVAILABLE, detail=detail))
        return listing(name)

    async def ask(self, *refresh: str) -> DataListing | UnresolvedSource:
        return (await self.listings.listings({DATA}, {*refresh}))[DATA]


async def test_a_folder_is_listed_once_an_interval() -> None:
    bench = Bench()
    for _ in range(3):
        assert await bench.ask() == listing("a")
    assert len(bench.taken) == 1
    assert 0 < bench.listings.due() <= INTERVAL * 1.5
    bench.now += 2 * INTERVAL
    assert bench.listings.due() == 0
    await bench.ask()
    assert len(bench.taken) == 2


async def test_a_change_counts_when_it_is_seen_twice() -> None:
    bench = Bench()
    await bench.ask()
    for name in "bc":  # an upload is under way
        bench.folders[DATA.url] = name
        bench.now += 2 * INTERVAL
        assert await bench.ask() == listing("a")
        assert bench.listings.due() == SETTLE
    bench.now += SETTLE
    assert await bench.ask() == listing("c")


async def test_a_push_of_the_manifest_takes_what_is_there() -> None:
    bench = Bench()
    await bench.ask()
    bench.folders[DATA.url] = "b"
    assert await bench.ask() == listing("a")
    assert await bench.ask(DATA.url) == listing("b")


async def test_a_folder_that_cannot_be_listed_is_tried_again_sooner() -> None:
    bench = Bench({DATA.url: None})
    found = await bench.ask()
    assert isinstance(found, UnresolvedSource)
    assert message(found.reason) == "it is gone"
    assert bench.listings.due() < INTERVAL / 2
    bench.folders[DATA.url] = "a"
    bench.now += INTERVAL
    assert await bench.ask() == listing("a")


async def test_a_slow_listing_goes_on_beside_the_syncs() -> None:
    bench = Bench(gate=asyncio.Event())
    found = await bench.ask()
    assert isinstance(found, UnresolvedSource)
    assert "still being listed" in message(found.reason)
    await bench.ask()
    assert len(bench.taken) == 1, "it is not taken twice"
    assert bench.gate is not None
    bench.gate.set()
    assert await bench.ask() == listing("a")
    assert bench.changes == 1, "its end asks for a sync"


async def test_few_folders_are_listed_at_once_and_others_forgotten() -> None:
    many = {BucketSource(f"file:///{n}", "default") for n in range(3 * AT_ONCE)}
    bench = Bench({source.url: "a" for source in many}, gate=asyncio.Event())
    await bench.listings.listings(many, set())
    assert bench.most == AT_ONCE
    assert await bench.listings.listings(set(), set()) == {}
    assert bench.listings.due() == INTERVAL
    await bench.listings.stop()


async def test_a_thread_asks_the_loop() -> None:
    bench = Bench()
    bench.listings.start()
    found = await asyncio.to_thread(bench.listings.resolve, {DATA}, set())
    assert found == {DATA: listing("a")}
