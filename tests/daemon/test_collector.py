"""Pauses between collections: an hour, and first seconds after doubts."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from reconciler.backoff import JITTER, POLL_JITTER
from reconciler.daemon.collector import Collector
from reconciler.daemon.retention import Retention
from reconciler.daemon.status_store import StatusStore
from reconciler.engine import Collected, Engine
from reconciler.errors import ReconcilerError
from reconciler.metrics import Metrics

HOUR = 3600.0


class _Enough(Exception):
    """All collections that a test wants were made."""


class _Doubting:
    """A retention whose collections have doubts as told; None: it fails."""

    def __init__(self, doubts: list[bool | None]) -> None:
        self._doubts, self.doubtful = iter(doubts), False

    async def collect(self) -> list[Collected]:
        found = next(self._doubts)
        if found is None:
            raise ReconcilerError("the disk is full")
        self.doubtful = found
        return []


class _Idle:
    """An engine, and a status, with nothing in them."""

    def __init__(self) -> None:
        self.records: dict[str, object] = {}

    async def collect(self, _: object) -> list[Collected]:
        return []


async def pauses(monkeypatch: pytest.MonkeyPatch, doubts: list[bool | None]) -> list[float]:
    """The pause after each collection."""
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)
        if len(found) == len(doubts):
            raise _Enough

    monkeypatch.setattr(asyncio, "sleep", sleep)
    synced, idle = asyncio.Event(), _Idle()
    synced.set()
    collector = Collector(
        cast("Engine", idle),
        cast("StatusStore", idle),
        Metrics(),
        cast("Retention", _Doubting(doubts)),
    )
    with pytest.raises(_Enough):
        await collector.run(synced)
    return found


def is_an_hour(pause: float) -> bool:
    return HOUR * (1 - POLL_JITTER) <= pause <= HOUR * (1 + POLL_JITTER)


async def test_without_doubts_a_collection_comes_once_an_hour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert all(map(is_an_hour, await pauses(monkeypatch, [False, False, False])))


async def test_pauses_after_doubts_grow_from_seconds_to_an_hour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = await pauses(monkeypatch, [True] * 8)
    least = [min(5.0 * 4**number, HOUR) for number in range(8)]
    assert all(
        low <= pause <= low * (1 + JITTER) for low, pause in zip(least, found, strict=True)
    ), found


async def test_a_collection_without_doubts_goes_back_to_the_hour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second, sure, again = await pauses(monkeypatch, [True, True, False, True])
    assert first < second < HOUR / 2
    assert is_an_hour(sure)
    assert again < second, "doubts are counted anew"


async def test_a_collection_that_fails_ends_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    first, failed = await pauses(monkeypatch, [False, None])
    assert is_an_hour(first)
    assert is_an_hour(failed)
