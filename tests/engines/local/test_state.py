"""Times of a run, by a clock that may be set while the run goes on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.engine import FailureClass, Result
from reconciler.engines.local import state as states
from reconciler.engines.local.state import RunState, Stopwatch
from reconciler.reasons import Reason, ReasonCode, message

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("change", [timedelta(hours=-1), timedelta(hours=1)])
def test_a_duration_does_not_see_that_the_clock_is_set(
    change: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, steady = NOON, 100.0
    monkeypatch.setattr(states, "now", lambda: now)
    monkeypatch.setattr(states, "_steady", lambda: steady)
    watch = Stopwatch()
    started = watch.now()
    assert started == NOON
    now, steady = NOON + change, 112.0
    assert watch.now() - started == timedelta(seconds=12)


def test_a_run_ends_no_sooner_than_it_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where an earlier supervisor has started it, before the clock was set back."""
    monkeypatch.setattr(states, "now", lambda: NOON - timedelta(hours=1))
    state = RunState(started=NOON)
    lost = Reason.of(ReasonCode.SUPERVISOR_LOST)
    assert state.failed(lost, FailureClass.INFRASTRUCTURE).finished == NOON
    assert state.succeeded(Result()).finished == NOON


def test_a_state_keeps_which_input_was_lost(tmp_path: Path) -> None:
    lost = Reason.of(ReasonCode.ARTIFACT_LOST, input="dataset", url="file:///gone")
    state = RunState().failed(lost, FailureClass.INFRASTRUCTURE)
    states.write(tmp_path / "state.json", state)
    read = states.read(tmp_path / "state.json")
    assert read == state
    cause = read.cause
    assert cause is not None
    assert (cause.code, cause.arguments) == (ReasonCode.ARTIFACT_LOST, {"input": "dataset"})
    assert message(cause) == message(lost)
