"""What a plan says is done: runs are ended first, then created, many at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from reconciler.engine import (
    Engine,
    EngineError,
    FailureClass,
    ImageGoneError,
    Run,
    RunPhase,
    RunSpec,
)
from reconciler.metrics import Metrics
from reconciler.planner import ActionKind, Ledger, Plan, RunDeletion
from reconciler.types import TaskKey

log = structlog.get_logger(__name__)

#: As many at once as an engine has connections for them.
AT_ONCE = 32
#: Seconds until a run that could not be ended is ended again.
END_RETRY = 10.0


@dataclass(slots=True)
class Acting:
    """Carries one plan out. What an engine refuses is learnt by the ledger, and planned anew.

    ``noticed`` is when a new commit was seen that it is the plan of, by the monotonic clock.
    """

    engine: Engine
    ledger: Ledger
    metrics: Metrics
    replan: Callable[[], None]
    noticed: float | None

    async def carry_out(self, plan: Plan) -> None:
        """Nothing is raised but what is a defect."""
        await _at_once(self._end(ending) for ending in plan.endings)
        await _at_once(self._create(spec) for spec in plan.creates())

    async def _end(self, ending: RunDeletion) -> None:
        bound = log.bind(object=str(ending.run.object or ""), task=ending.run.task.value)
        try:
            await self.engine.delete(ending.run.name)
        except EngineError as error:
            self.metrics.failed("engine", error)
            bound.warning("a run could not be ended", run=ending.run.name, error=str(error))
            asyncio.get_running_loop().call_later(END_RETRY, self.replan)
            return
        if ending.action is not ActionKind.KEEP:
            bound.info("run ended", run=ending.run.name, reason=ending.reason.code.value)

    async def _create(self, spec: RunSpec) -> None:
        bound = log.bind(object=str(spec.object or ""), task=spec.task.value, key=spec.key[:12])
        try:
            await self.engine.create(spec)
        except EngineError as error:
            self.metrics.failed("engine", error)
            bound.warning("a run could not be created", run=spec.name, error=str(error))
            if isinstance(error, ImageGoneError):
                await self._forget(error.key)
            self.ledger.learn_run(_refused(spec, error))
            self.replan()
            return
        failure = self.ledger.failure(spec.key, spec.how)
        again = failure is not None and failure.count > 0
        self.metrics.runs.created_one(spec, again=again)
        if self.noticed is not None:
            self.metrics.head_to_run.observe(time.monotonic() - self.noticed)
            self.noticed = None
        bound.info("run created", run=spec.name)

    async def _forget(self, key: TaskKey) -> None:
        """Have a build made again, though it is recorded, and a run may say so, that it is done."""
        self.ledger.forget(key)
        for run in self.engine.runs().values():
            if run.key == key and not run.live:
                with suppress(EngineError):  # it is asked again with the next run that needs it
                    await self.engine.delete(run.name)


async def _at_once(actions: Iterable[Coroutine[None, None, None]]) -> None:
    """Do them all, begun in their order, so many at a time."""
    waiting = iter(actions)

    async def worker() -> None:
        for action in waiting:
            await action

    async with asyncio.TaskGroup() as workers:
        for _ in range(AT_ONCE):
            workers.create_task(worker())


def _refused(spec: RunSpec, error: EngineError) -> Run:
    """A creation that an engine refused, as the failure it is: of the manifest, or of the day.

    The latter is tried again for as long as it takes: nothing has run that could be given up.
    """
    return replace(
        spec.pending(),
        phase=RunPhase.FAILED,
        finished=datetime.now(UTC),
        reason=error.reason,
        failure=FailureClass.COMMAND if error.permanent else FailureClass.UNAVAILABLE,
    )
