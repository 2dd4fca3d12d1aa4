"""Whose logs are looked at for the progress of copies, and what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import cast

import pytest

from reconciler.backoff import Backoff
from reconciler.engines.kubernetes import copies
from reconciler.engines.kubernetes.api_errors import Unreachable
from reconciler.engines.kubernetes.api_types import (
    ContainerRunning,
    ContainerState,
    ContainerStatus,
    ObjectMeta,
    Pod,
    PodStatus,
)
from reconciler.engines.kubernetes.client import Api
from reconciler.engines.kubernetes.command_pod import STAGED_ANNOTATION
from reconciler.engines.kubernetes.copies import CopyWatch
from reconciler.reasons import Reason, ReasonCode, message

DEAF = Reason.of(ReasonCode.ENGINE_UNAVAILABLE, detail="the kubelet does not answer")
COPYING = b"[reconciler] copying 3 of 4 files, 61 %\n"


class Kubelet:
    """The ends of logs, as pods have them at the moment."""

    def __init__(self) -> None:
        self.lines: dict[str, bytes | Exception] = {}
        self.asked: list[str] = []

    async def tail(
        self, path: str, query: Mapping[str, str], *, longest: int
    ) -> tuple[bytes, bool]:
        assert query == {"container": "main", "tailLines": "1", "limitBytes": str(longest)}
        name = path.split("/")[-2]
        self.asked.append(name)
        line = self.lines.get(name, b"epoch 1\n")
        if isinstance(line, Exception):
            raise line
        return line, False


def pod(name: str, *, staged: bool = True, running: bool = True, rank: str = "0") -> Pod:
    state = ContainerState(running=ContainerRunning() if running else None)
    return Pod(
        metadata=ObjectMeta(
            name=name,
            namespace="ns",
            uid=name,
            labels={"batch.kubernetes.io/job-completion-index": rank},
            annotations={STAGED_ANNOTATION: "true"} if staged else {},
        ),
        status=PodStatus(container_statuses=[ContainerStatus(name="main", state=state)]),
    )


class Watch:
    """A watch over pods, and what it says of each."""

    def __init__(self, kubelet: Kubelet, pods: list[Pod]) -> None:
        self.pods = pods
        self.changes = asyncio.Event()
        self.watch = CopyWatch(cast("Api", kubelet), lambda: self.pods, self.changes.set)

    def says(self, of: Pod) -> str:
        reason = self.watch.reason([of])
        return message(reason) if reason is not None else ""

    async def changed(self) -> None:
        async with asyncio.timeout(30):
            await self.changes.wait()
        self.changes.clear()


@asynccontextmanager
async def watching(kubelet: Kubelet, *pods: Pod) -> AsyncIterator[Watch]:
    watch = Watch(kubelet, list(pods))
    task = asyncio.create_task(watch.watch.run())
    try:
        yield watch
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "PAUSE", 0.001)
    monkeypatch.setattr(copies, "IDLE", 0.002)
    monkeypatch.setattr(copies, "COPYING", Backoff(first=0.001, longest=0.002))


async def test_a_copy_is_seen_and_its_end_too() -> None:
    kubelet, a = Kubelet(), pod("a")
    async with watching(kubelet, a) as watch:
        kubelet.lines["a"] = COPYING
        await watch.changed()
        assert watch.says(a) == "copying 3 of 4 files, 61 %"
        kubelet.lines["a"] = b"[reconciler] uploading, 2 files left\n"
        await watch.changed()
        assert watch.says(a) == "uploading, 2 files left"
        kubelet.lines["a"] = Unreachable(DEAF)
        await watch.changed()
        assert watch.says(a) == ""


async def test_only_staged_pods_that_run_as_rank_0_are_looked_at() -> None:
    kubelet = Kubelet()
    others = [
        pod("direct", staged=False), pod("waiting", running=False), pod("rank", rank="1"),
    ]  # fmt: skip
    async with watching(kubelet, *others) as watch:
        watch.pods = [*others, pod("staged")]
        watch.watch.notice()
        kubelet.lines["staged"] = COPYING
        await watch.changed()
    assert set(kubelet.asked) == {"staged"}


async def test_what_a_pod_said_is_forgotten_with_it() -> None:
    kubelet, a = Kubelet(), pod("a")
    kubelet.lines["a"] = COPYING
    async with watching(kubelet, a) as watch:
        await watch.changed()
        assert watch.says(pod("a", running=False)) == ""
        watch.pods = [b := pod("b")]
        kubelet.lines["b"] = COPYING
        watch.watch.notice()
        await watch.changed()
        assert (watch.says(a), watch.says(b)) == ("", "copying 3 of 4 files, 61 %")
