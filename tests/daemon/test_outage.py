"""A remote that is away for days: tried again at the longest pause, for as long as it takes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from reconciler.backoff import JITTER
from reconciler.config import load_setup
from reconciler.daemon.app import assemble
from reconciler.daemon.controller import Daemon
from reconciler.daemon.head_fetcher import FETCH_RETRY
from reconciler.daemon.shutdown import WritePermission
from reconciler.daemon.status_pusher import PUSH_RETRY_LONGEST
from reconciler.daemon.status_store import StatusStore
from reconciler.errors import GitError
from reconciler.metrics import Metrics
from tests.e2e.site import Site

#: Of a pause that doubles each time, more than a float can hold.
MANY = 1100


@pytest.fixture
async def daemon(tmp_path: Path) -> Daemon:
    setup = load_setup(Site(tmp_path).root / "reconciler.yaml", {})
    return await assemble(
        setup, WritePermission(), metrics=Metrics(), observe=lambda *_: None, once=False
    )


async def test_fetches_that_fail_for_days_are_tried_again(daemon: Daemon) -> None:
    pauses = [daemon._fetcher.delay(GitError("it is away")) for _ in range(MANY)]
    assert pauses[0] < pauses[1] < pauses[2]
    assert FETCH_RETRY.longest <= pauses[-1] <= (1 + JITTER) * FETCH_RETRY.longest


async def test_pushes_that_fail_for_days_are_tried_again(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) > MANY:
            raise asyncio.CancelledError

    async def refuse(_: StatusStore) -> None:
        raise GitError("it is away")

    monkeypatch.setattr(StatusStore, "dirty", True)
    monkeypatch.setattr(StatusStore, "flush", refuse)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await daemon._pusher.run()
    assert pauses[0] < pauses[1] < pauses[2]
    assert PUSH_RETRY_LONGEST <= pauses[-1] <= (1 + JITTER) * PUSH_RETRY_LONGEST
