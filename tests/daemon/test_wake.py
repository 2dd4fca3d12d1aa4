"""A burst of events is waited for, a push is not."""

from __future__ import annotations

import asyncio

import pytest

from reconciler.daemon.wake import SETTLE, Wake


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were asked for."""
    asked: list[float] = []

    async def sleep(seconds: float) -> None:
        asked.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return asked


def test_the_rest_of_a_burst_of_events_is_waited_for(slept: list[float]) -> None:
    wake = Wake(fetch=False, plan=False)
    wake.replan()
    asyncio.run(wake.settle())
    assert slept == [SETTLE]


def test_a_push_is_fetched_at_once(slept: list[float]) -> None:
    wake = Wake(fetch=False, plan=False)
    wake.replan()
    wake.poll()
    asyncio.run(wake.settle())
    assert slept == []
