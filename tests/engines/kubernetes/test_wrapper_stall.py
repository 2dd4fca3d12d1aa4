"""The wrapper ends a command that neither prints nor reports progress."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.engine import FailureClass
from reconciler.engines.kubernetes.termination import TerminationState
from reconciler.reasons import ReasonCode
from tests.engines.kubernetes.conftest import MakeContainer
from tests.engines.kubernetes.container import log
from tests.patience import longer

FAST = {"RECONCILER_WATCH": "0.1"}


def test_a_command_that_does_nothing_for_so_long_has_stalled(pod: MakeContainer) -> None:
    container = pod(stall=1, env=FAST)
    ended = container.sh("echo begun; exec sleep 1000")
    assert ended.code == 1
    assert ended.termination.failure is FailureClass.COMMAND
    assert ended.termination.reason is ReasonCode.STALLED
    text = "busybox was ended, as it neither printed nor reported progress for 1 s"
    assert ended.termination.message.endswith(text)
    assert text.encode() in log(container, 1)


def test_a_command_that_makes_its_end_a_success_has_stalled_all_the_same(
    pod: MakeContainer,
) -> None:
    ended = pod(stall=1, env=FAST).sh("trap 'exit 0' TERM; while :; do sleep 0.1; done")
    assert (ended.code, ended.termination.reason) == (1, ReasonCode.STALLED)


def test_a_command_that_ignores_its_end_is_killed(pod: MakeContainer) -> None:
    for stall in map(int, longer(1)):
        container = pod(stall=stall, grace=1, env=FAST)
        deaf = container.home / "deaf"
        ended = container.sh(f"trap '' TERM; : >{deaf}; while :; do sleep 0.1; done")
        assert ended.termination.reason is ReasonCode.STALLED
        if deaf.exists():
            break
    assert ended.code == 137


@pytest.mark.parametrize(
    "sign",
    [
        "echo printed",
        "printf x",
        'echo {} >"$PROGRESS_FILE.new"; mv "$PROGRESS_FILE.new" "$PROGRESS_FILE"',
    ],
)
def test_a_sign_of_life_begins_the_time_anew(pod: MakeContainer, sign: str) -> None:
    for stall in map(int, longer(1)):
        container = pod(stall=stall, env=FAST)
        container.env["PROGRESS_FILE"] = str(container.home / "progress/progress.json")
        ended = container.sh(f"for n in 1 2 3; do sleep {stall * 0.4}; {sign}; done")
        if ended.code == 0:
            break
    assert (ended.code, ended.termination.state) == (0, TerminationState.COMPLETE), ended


@pytest.mark.parametrize("steer", [{}, {"stall": 3600.0}])
def test_without_a_stall_nothing_is_said(pod: MakeContainer, steer: dict[str, Any]) -> None:
    ended = pod(**steer).sh('echo w >"$MODEL_DIR/w"; sleep 1.5')
    assert (ended.code, ended.termination.state) == (0, TerminationState.COMPLETE), ended
