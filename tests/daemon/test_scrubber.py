"""The scrub: which artifacts it verifies, when, and what becomes of the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from reconciler.daemon.scrubber import Scrubber
from reconciler.daemon.status_store import StatusStore
from reconciler.engine import Engine, Result, Wanted
from reconciler.planner.ledger import Ledger
from reconciler.planner.object_status import ArtifactStatus, ObjectStatus
from reconciler.planner.phases import Phase
from reconciler.types import Kind, ObjectRef, TaskKey, TaskKind

KEYS = {name: TaskKey(name * 40) for name in "abcd"}
DAY = timedelta(days=1)


@dataclass
class Bench:
    """A scrubber over artifacts ``a`` and so on, and an engine that answers as a test says."""

    answers: dict[str, bool | None]
    meanwhile: Callable[[str], Awaitable[None]] | None = None
    asked: list[str] = field(default_factory=list)
    calls: int = 0

    def __post_init__(self) -> None:
        self.records: dict[ObjectRef, ObjectStatus] = {}
        self.ledger = Ledger()
        for name in self.answers:
            self.complete(name)
            self.record(name, None)
        self.scrubber = Scrubber(
            cast("Engine", self),
            cast("StatusStore", self),
            interval=DAY.total_seconds(),
            found=self.found,
        )

    def complete(self, name: str) -> None:
        result = Result(url=f"file:///{name}/")
        self.ledger.complete(KEYS[name], TaskKind.TRAIN, result, finished=datetime.now(UTC))

    def record(self, name: str, verified: datetime | None) -> None:
        ref = ObjectRef(Kind.MODEL, "default", name)
        artifact = ArtifactStatus(url=f"file:///{name}/", key=KEYS[name], verified=verified)
        self.records[ref] = ObjectStatus(ref=ref, phase=Phase.READY, artifact=artifact)

    def found(self) -> None:
        self.calls += 1

    async def verify(self, artifact: Wanted) -> bool | None:
        name = artifact.key[0]
        self.asked.append(name)
        if self.meanwhile is not None:
            await self.meanwhile(name)
        return self.answers[name]

    async def round(self) -> None:
        await self.scrubber._round(DAY)


async def test_what_is_true_gets_a_time_and_what_is_false_is_lost() -> None:
    bench = Bench({"a": True, "b": False, "c": None})
    await bench.round()
    assert bench.asked == ["a", "b", "c"]
    assert bench.scrubber.take_verified().keys() == {KEYS["a"]}
    assert bench.scrubber.take_losses() == {KEYS["b"]}
    assert bench.scrubber.take_losses() == frozenset()
    assert bench.calls == 2, "a loss is told at once, times at the end of a round"


async def test_one_that_was_verified_within_the_interval_is_left_alone() -> None:
    bench = Bench(dict.fromkeys("abcd", True))
    now = datetime.now(UTC)
    bench.record("a", now - DAY / 2)
    bench.record("b", now - 2 * DAY)
    bench.record("c", now + 2 * DAY)  # by a clock that was set back since
    await bench.round()
    assert bench.asked == ["d", "b", "c"], "those of the oldest time first"


async def test_one_that_was_made_again_meanwhile_is_not_lost() -> None:
    async def make_again(name: str) -> None:
        bench.ledger.lose(KEYS[name], datetime.now(UTC))
        bench.complete(name)

    bench = Bench({"a": False, "b": True}, make_again)
    await bench.round()
    assert bench.scrubber.take_losses() == frozenset()
    assert bench.scrubber.take_verified() == {}


async def test_one_that_was_made_again_before_the_sync_is_not_lost() -> None:
    bench = Bench({"a": False})
    await bench.round()
    bench.ledger.lose(KEYS["a"], datetime.now(UTC))
    bench.complete("a")
    assert bench.scrubber.take_losses() == frozenset()


async def test_an_external_artifact_is_not_asked_for() -> None:
    bench = Bench({"a": True})
    bench.ledger = Ledger()
    await bench.round()
    assert bench.asked == []


async def test_without_an_interval_nothing_is_verified() -> None:
    bench = Bench({"a": True})
    scrubber: Any = Scrubber(
        cast("Engine", bench), cast("StatusStore", bench), interval=None, found=bench.found
    )
    synced = asyncio.Event()
    synced.set()
    task = asyncio.create_task(scrubber.run(synced))
    for _ in range(5):
        await asyncio.sleep(0)
    assert (bench.asked, task.done()) == ([], False)
    task.cancel()
