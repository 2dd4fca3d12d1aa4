"""The end of `run --once`: what goes on is waited for, what cannot come is not, others a while."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from reconciler.daemon.leader import _campaign
from reconciler.daemon.once import START_PATIENCE, OncePatience, StillWaitingError
from reconciler.engine import Capacity, Run, RunPhase
from reconciler.planner import ActionKind, Ledger, Plan, PlanInput, PlannerConfig, RunDeletion
from reconciler.planner.plan import Unchanged
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import Commit, ExecutionHash, RequestHash, TaskKey, TaskKind
from tests.engines.local.bench import key_of

NOW = datetime(2026, 11, 1, tzinfo=UTC)
UNSCHEDULABLE = Reason.of(ReasonCode.UNSCHEDULABLE, detail="no nvidia.com/gpu")


def run(phase: RunPhase = RunPhase.PENDING, reason: Reason | None = None, **fields: Any) -> Run:
    key = key_of(fields.pop("of", "a"))
    return Run(
        name=f"r-{key[:12]}",
        task=TaskKind.TRAIN,
        key=TaskKey(key),
        execution_hash=ExecutionHash("0" * 40),
        request_hash=RequestHash("0" * 40),
        object=None,
        phase=phase,
        reason=reason,
        **fields,
    )


def plan(*endings: Run, **fields: Any) -> Plan:
    inputs = PlanInput(
        settings=PlannerConfig(),
        head=Commit("c" * 40),
        desired={},
        invalid={},
        documents=0,
        records={},
        ledger=Ledger(),
        runs={},
        capacity=Capacity(containers=True),
        released=frozenset(),
        now=NOW,
    )
    cleared = Reason.of(ReasonCode.HISTORY_LIMIT)
    ends = tuple(RunDeletion(run=end, action=ActionKind.KEEP, reason=cleared) for end in endings)
    return Plan(
        inputs=inputs,
        unchanged=Unchanged(orphaned=frozenset(), losses_changed=0),
        decided={},
        endings=ends,
        removed=frozenset(),
        kept={},
        holds=(),
        **fields,
    )


class Watch:
    """A patience of 30 seconds, at a time that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self.patience = OncePatience(30.0, clock=lambda: self.now)

    def left(self, made: Plan, *runs: Run, retry: float = 0.0) -> float | None:
        by_name = {one.name: one for one in runs}
        return self.patience.left(made, by_name, began=self.now, retry=retry, source=300.0)


def test_it_ends_at_once_where_nothing_can_come() -> None:
    assert Watch().left(plan()) is None


def test_a_run_that_executes_is_waited_for_however_long() -> None:
    watch = Watch()
    for _ in range(5):
        assert watch.left(plan(), run(RunPhase.RUNNING)) is not None
        watch.now += 1e6
    assert watch.left(plan()) is None


@pytest.mark.parametrize(
    "stuck",
    [
        run(reason=UNSCHEDULABLE),
        run(reason=Reason.of(ReasonCode.NEXT_ATTEMPT_WAITING, cause=UNSCHEDULABLE, previous="x")),
        run(RunPhase.RUNNING, Reason.of(ReasonCode.RANK_WAITING, cause=UNSCHEDULABLE)),
        run(RunPhase.RUNNING, lost=True),
        run(RunPhase.RUNNING, lost=True, deleting=True),
    ],
)
def test_a_run_that_cannot_go_on_is_given_the_patience(stuck: Run) -> None:
    watch = Watch()
    assert watch.left(plan(), stuck) == 30.0
    watch.now += 29.0
    assert watch.left(plan(), stuck) == 1.0
    watch.now += 1.0
    assert watch.left(plan(), stuck) is None


def test_a_run_that_starts_is_given_longer() -> None:
    watch = Watch()
    assert watch.left(plan(), run()) == START_PATIENCE
    watch.now += START_PATIENCE
    assert watch.left(plan(), run()) is None


def test_a_deletion_that_is_refused_again_and_again_does_not_keep_it() -> None:
    watch, ended = Watch(), run(RunPhase.SUCCEEDED)
    assert watch.left(plan(ended)) == 30.0
    watch.now += 30.0
    assert watch.left(plan(ended)) is None


def test_a_retry_is_waited_for_if_it_is_due_in_time() -> None:
    retries = plan(retry_at=NOW)
    assert Watch().left(retries, retry=29.0) == 30.0
    assert Watch().left(retries, retry=30.0) is None


def test_another_run_begins_the_patience_again() -> None:
    watch, first = Watch(), run(reason=UNSCHEDULABLE)
    watch.left(plan(), first)
    watch.now += 29.0
    assert watch.left(plan(), first, run(reason=UNSCHEDULABLE, of="b")) == 30.0


class Standby:
    """A candidate for a Lease that another holds."""

    leader = "model-reconciler-1"

    async def acquire(self) -> None:
        await asyncio.Event().wait()


async def test_the_lead_of_another_daemon_is_not_waited_for_without_an_end() -> None:
    with pytest.raises(StillWaitingError, match="another daemon leads, model-reconciler-1"):
        await _campaign(cast("Any", Standby()), 0.01)
