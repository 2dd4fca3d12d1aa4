"""Execution of a plan: runs are ended first, then created."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

import structlog

from reconciler.backoff import Backoff
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

log = structlog.get_logger(__name__)

#: Engine calls at a time: as many as an engine has connections for.
CONCURRENCY = 32
#: Seconds until a run that could not be ended is ended again.
END_RETRY = Backoff(first=10.0, longest=10.0)


@dataclass(slots=True)
class PlanExecutor:
    """Applies one plan.

    Runs that an engine refuses are failures in the ledger. After a refusal ``replan`` is called.
    ``noticed`` is the monotonic time at which the commit of the plan was noticed; None if the plan
    is not the first of a new commit.
    """

    engine: Engine
    ledger: Ledger
    metrics: Metrics
    replan: Callable[[], None]
    noticed: float | None

    async def apply(self, plan: Plan) -> frozenset[str]:
        """Apply the plan; return the runs that it failed to end.

        Every error of the engine is logged and counted, none is raised.
        """
        refused: set[str] = set()
        await _run_all([partial(self._end, ending, refused) for ending in plan.endings])
        await _run_all([partial(self._create, spec) for spec in plan.creates()])
        return frozenset(refused)

    async def _end(self, ending: RunDeletion, refused: set[str]) -> None:
        bound = log.bind(object=str(ending.run.object or ""), task=ending.run.task.value)
        try:
            await self.engine.delete(ending.run.name)
        except EngineError as error:
            self.metrics.failed("engine", error)
            bound.warning("a run could not be ended", run=ending.run.name, error=str(error))
            asyncio.get_running_loop().call_later(END_RETRY.delay(1), self.replan)
            refused.add(ending.run.name)
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
                self.ledger.lose(error.key, datetime.now(UTC))
            self.ledger.learn_run(_refused(spec, error))
            self.replan()
            return
        failure = self.ledger.failure(spec.key, spec.execution_hash)
        again = failure is not None and failure.count > 0
        self.metrics.created(spec, again=again)
        if self.noticed is not None:
            self.metrics.head_to_run.observe(time.monotonic() - self.noticed)
            self.noticed = None
        bound.info("run created", run=spec.name)


async def _run_all(actions: Sequence[Callable[[], Coroutine[None, None, None]]]) -> None:
    """Run all actions, started in their order, ``CONCURRENCY`` at a time."""
    waiting = iter(actions)

    async def worker() -> None:
        for action in waiting:
            await action()

    async with asyncio.TaskGroup() as workers:
        for _ in range(min(CONCURRENCY, len(actions))):
            workers.create_task(worker())


def _refused(spec: RunSpec, error: EngineError) -> Run:
    """Return a refused creation as a failed run.

    A permanent refusal is the manifest's failure. Any other is tried again without a limit, as
    nothing has run yet.
    """
    return replace(
        spec.pending(),
        phase=RunPhase.FAILED,
        finished=datetime.now(UTC),
        reason=error.reason,
        failure=FailureClass.COMMAND if error.permanent else FailureClass.UNAVAILABLE,
    )
