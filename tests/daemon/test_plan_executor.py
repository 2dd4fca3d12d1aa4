"""What an engine refuses of a plan."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from reconciler.backoff import Backoff
from reconciler.daemon import plan_executor
from reconciler.daemon.plan_executor import PlanExecutor
from reconciler.engine import Engine, EngineError
from reconciler.metrics import Metrics
from reconciler.planner import Ledger
from reconciler.reasons import Reason, ReasonCode
from tests.planner.world import World, scratch


class Refusing:
    """An engine that does not end a run."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.ended: list[str] = []

    async def delete(self, name: str) -> None:
        if name == self._name:
            raise EngineError(Reason.of(ReasonCode.UNKNOWN))
        self.ended.append(name)

    async def create(self, _: object) -> None:
        pass


async def test_runs_that_an_engine_does_not_end_are_named_and_ended_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plan_executor, "END_RETRY", Backoff(first=0.0, longest=0.0))
    world = World({f"{name}.yaml": scratch(name) for name in ("a", "b")})
    world.sync()
    for build in world.live():
        world.succeed(build)
    world.sync()
    runs = sorted(world.live())
    assert len(runs) == 2
    for run in runs:
        world.start(run)
    world.sync()
    world.files = {
        name: text.replace("epochs: 3", "epochs: 4") for name, text in world.files.items()
    }
    engine, again = Refusing(runs[0]), asyncio.Event()
    executor = PlanExecutor(cast("Engine", engine), Ledger(), Metrics(), again.set, None)
    assert await executor.apply(world.plan()) == {runs[0]}
    assert engine.ended == runs[1:]
    await asyncio.wait_for(again.wait(), 60)
