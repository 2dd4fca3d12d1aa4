"""Reports of progress from pods: the protocol, the token of a run, and what is kept in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from io import BytesIO
from typing import Any

import aiohttp
import pytest

from reconciler.engine import LONGEST_REPORT, LogOf, read_curves, report_token
from reconciler.engines.kubernetes import ReportedProgress
from reconciler.metrics import Metrics
from reconciler.types import TaskKind
from reconciler.web import Reports, Served, serve
from reconciler.web.reports import LONGEST_KEPT
from tests.planner.world import model

KEY = b"a key of this test alone"
RUN = "r-m-t-0123456789ab-012345"
OTHER = "r-other-t-0123456789ab-012345"


class Time:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def store_of(*runs: str, most: int = 1000, clock: Time | None = None) -> ReportedProgress:
    attempts: Mapping[str, int] = dict.fromkeys(runs, 1)
    return ReportedProgress(attempts.get, most=most, clock=clock or Time())


@asynccontextmanager
async def served(store: ReportedProgress, key: bytes = KEY) -> AsyncIterator[str]:
    found = Served(
        metrics=Metrics(),
        ready=lambda: True,
        pushed=lambda: None,
        branches=("main",),
        reports=Reports(store=store, key=lambda: key),
    )
    async with serve("127.0.0.1:0", found) as bound:
        yield f"http://{bound}/progress/"


async def ask(
    url: str, token: str, body: bytes | BytesIO | None = None, /, **headers: str
) -> tuple[int, str]:
    sent = {"Authorization": f"Bearer {token}", **headers}
    async with (
        aiohttp.ClientSession() as session,
        session.request("POST" if body is not None else "GET", url, data=body, headers=sent) as got,
    ):
        return got.status, await got.text()


def status(**members: Any) -> bytes:
    """What the SDK sends."""
    return json.dumps({"trainerStatus": members}).encode()


async def test_a_report_is_taken_with_the_token_of_its_run() -> None:
    store = store_of(RUN, OTHER)
    async with served(store) as base:
        body = status(progressPercentage=40, metrics=[{"name": "loss", "value": "0.5"}])
        assert (await ask(base + RUN, report_token(KEY, RUN), body))[0] == 200
        for token in ("", "wrong", report_token(KEY, OTHER), report_token(b"x" * 16, RUN), "é"):
            assert (await ask(base + RUN, token, body))[0] == 401
    found = store.latest(RUN)
    assert found is not None
    assert (found.percentage, found.metrics, found.dropped) == (40, {"loss": 0.5}, 0)
    assert store.latest(OTHER) is None


async def test_without_a_key_no_token_is_right() -> None:
    async with served(store_of(RUN), key=b"") as base:
        for token in ("", report_token(b"", RUN)):
            assert (await ask(base + RUN, token, b"{}"))[0] == 401


async def test_a_run_that_is_not_live_is_not_found() -> None:
    async with served(store_of()) as base:
        assert (await ask(base + RUN, report_token(KEY, RUN), b"{}"))[0] == 404


async def test_a_report_that_is_too_long_is_counted_and_dropped() -> None:
    store = store_of(RUN)
    async with served(store) as base:
        body = b" " * (LONGEST_REPORT + 1)
        assert (await ask(base + RUN, report_token(KEY, RUN), body))[0] == 413
    found = store.latest(RUN)
    assert found is not None
    assert found.dropped == 1


async def test_the_wrapper_gets_the_curves_and_the_age_of_the_last_report() -> None:
    clock = Time()
    store = store_of(RUN, clock=clock)
    token = report_token(KEY, RUN)
    async with served(store) as base:
        assert await ask(base + RUN, token) == (200, "")
        assert await ask(base + RUN, token, Accept="text/plain") == (200, "none\n")
        for number in range(3):
            await ask(base + RUN, token, status(metrics=[{"name": "loss", "value": number}]))
            clock.now += 10
        assert await ask(base + RUN, token, Accept="text/plain") == (200, "10\n")
        _, text = await ask(base + RUN, token)
    curves = read_curves(text.encode().splitlines())
    assert curves is not None
    assert [(p.seconds, p.value) for p in curves.metrics["loss"]] == [(0, 0), (10, 1), (20, 2)]


async def test_a_daemon_that_begins_anew_gets_the_curves_from_the_wrapper() -> None:
    clock, token = Time(), report_token(KEY, RUN)
    kept = ""
    for begin in (0, 100):  # each daemon hears two reports, ten seconds apart
        async with served(store_of(RUN, clock=clock)) as base:
            for number in (begin, begin + 1):
                clock.now += 10
                await ask(base + RUN, token, status(metrics=[{"name": "loss", "value": number}]))
            headers = {"X-Reconciler-Seconds": f"{clock.now - 100:.0f}"}
            match = {**headers, "If-Match": '"kept"'}
            if kept:
                assert (await ask(base + RUN, token, None, **match))[0] == 412
                curves = {**headers, "Content-Type": "application/jsonl"}
                for _ in range(2):  # an answer may be lost on its way
                    code, kept = await ask(base + RUN, token, kept.encode(), **curves)
                    assert code == 200
            else:
                _, kept = await ask(base + RUN, token, None, **headers)
            assert await ask(base + RUN, token, None, **match) == (200, kept)
    found = read_curves(kept.encode().splitlines())
    assert found is not None
    points = [(p.seconds, p.value) for p in found.metrics["loss"]]
    assert points == [(10, 0), (20, 1), (30, 100), (40, 101)]


async def test_what_is_handed_back_is_bounded_and_read_with_care() -> None:
    store, token = store_of(RUN), report_token(KEY, RUN)
    curves = {"Content-Type": "application/jsonl", "X-Reconciler-Seconds": "-1"}
    store.take(RUN, status(metrics=[{"name": "loss", "value": 1}]))
    async with served(store) as base:
        assert (await ask(base + RUN, "wrong", b"", **curves))[0] == 401
        assert (await ask(base + RUN, token, BytesIO(b" " * (LONGEST_KEPT + 1)), **curves))[
            0
        ] == 413
        code, text = await ask(base + RUN, token, b"\xff\n{}\n", **curves)
    assert code == 200
    found = read_curves(text.encode().splitlines())
    assert found is not None
    assert [p.value for p in found.metrics["loss"]] == [1]


def test_an_unusable_report_is_no_sign_of_life() -> None:
    store = store_of(RUN)
    store.take(RUN, b"{")
    assert store.age(RUN) is None


def test_another_attempt_begins_anew() -> None:
    attempts = {RUN: 0}
    store = ReportedProgress(attempts.get, clock=Time())
    store.take(RUN, status(progressPercentage=80))
    attempts[RUN] = 1  # it is learnt later than the first report may come
    store.take(RUN, status(step=1))
    first = store.latest(RUN)
    attempts[RUN] = 2
    store.take(RUN, status(step=2))
    second = store.latest(RUN)
    assert first is not None
    assert second is not None
    assert (first.attempt, first.percentage) == (1, 80)
    assert (second.attempt, second.percentage) == (2, None)


@pytest.mark.parametrize("most", [1, 50])
def test_memory_is_bounded_by_points_and_silent_runs_are_forgotten(most: int) -> None:
    runs = [f"r-{number}" for number in range(100)]
    store = store_of(*runs, most=most)
    for run in runs:
        store.take(run, status(metrics=[{"name": "loss", "value": 1}]))
    kept = [run for run in runs if store.latest(run) is not None]
    assert kept == runs[-most:]


def test_the_page_has_the_curves_of_the_newest_attempt_alone() -> None:
    store = ReportedProgress({RUN: 2}.get, clock=Time())
    store.take(RUN, status(metrics=[{"name": "loss", "value": 1}]))
    log = LogOf(object=model("m"), task=TaskKind.TRAIN, run=RUN)
    assert asyncio.run(store.curves(log)) is not None
    assert asyncio.run(store.curves(replace(log, attempt=2))) is not None
    earlier = LogOf(object=model("m"), task=TaskKind.TRAIN, run=RUN, attempt=1)
    assert asyncio.run(store.curves(earlier)) is None
