"""What is read of a termination message, whoever wrote it."""

from __future__ import annotations

import json
import re
from importlib import resources

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.engine import FailureClass
from reconciler.engines.kubernetes.termination import (
    LIMIT,
    REASONS,
    Termination,
    TerminationState,
    read_termination,
)
from reconciler.reasons import ReasonCode

VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=50)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
)
FIELDS = (
    "attempt",
    "exitCode",
    "seconds",
    "gpuSeconds",
    "class",
    "reason",
    "message",
    "last",
    "metrics",
)


def test_a_failure_is_read() -> None:
    message = {"v": 1, "state": "failed", "attempt": 2, "exitCode": 3, "seconds": 1.5,
               "gpuSeconds": 3.0, "class": "command", "reason": "CommandFailed",
               "message": "train.sh ended", "last": "no"}  # fmt: skip
    assert read_termination(json.dumps(message)) == Termination(
        state=TerminationState.FAILED, attempt=2, exit_code=3, seconds=1.5, gpu_seconds=3.0,
        failure=FailureClass.COMMAND, reason=ReasonCode.COMMAND_FAILED, message="train.sh ended",
        last="no",
    )  # fmt: skip


@pytest.mark.parametrize(
    "message",
    ["", "oops", "[]", '{"v": 2, "state": "failed"}', '{"v": 1}', '{"v": 1, "state": "x"}',
     "[" * 4000, json.dumps({"v": 1, "state": "failed", "last": "x" * LIMIT})],
)  # fmt: skip
def test_what_the_wrapper_cannot_have_written_is_none(message: str) -> None:
    assert read_termination(message) is None


@pytest.mark.parametrize("reason", ["Complete", "NoSuchCode", 3, None])
def test_a_reason_that_no_script_writes_is_none(reason: object) -> None:
    found = read_termination(json.dumps({"v": 1, "state": "failed", "reason": reason}))
    assert found is not None
    assert found.reason is None


def test_the_scripts_write_the_reasons_that_are_read() -> None:
    package = resources.files("reconciler.engines.kubernetes")
    names = ("wrapper", "artifact", "program", "attempt", "staged", "source", "buildkit")
    written = (
        r'(?:infrastructure|command|refuse|unsuccessful|cause=|code=|"reason":") ?([A-Z][A-Za-z]+)'
    )
    scripts = "".join(package.joinpath(f"{name}.sh").read_text(encoding="utf-8") for name in names)
    warnings = {ReasonCode.GIT_LFS_POINTERS}
    assert set(re.findall(written, scripts)) == REASONS | warnings


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(fields=st.dictionaries(st.sampled_from(FIELDS), VALUES))
def test_whatever_it_holds_what_is_read_is_bounded_and_printable(fields: dict[str, object]) -> None:
    found = read_termination(json.dumps({"v": 1, "state": "failed"} | fields))
    if found is None:
        return
    assert (found.message + found.last).isprintable()
    assert 0 <= found.gpu_seconds <= 1e12
    assert 0 <= found.attempt <= 10**9
    assert all(name.isprintable() for name in found.metrics or {})


def test_metrics_that_are_not_numbers_are_left_out() -> None:
    metrics = {"a": 1, "b": "2", "c": True, "d": float("inf"), "e\n": 1, "f": 10**400}
    found = read_termination(json.dumps({"v": 1, "state": "complete", "metrics": metrics}))
    assert found is not None
    assert found.metrics == {"a": 1.0}
