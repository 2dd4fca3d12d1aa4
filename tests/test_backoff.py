"""Back-off: pauses grow, stay within their bounds and are spread, everywhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reconciler
from reconciler.backoff import JITTER, POLL_JITTER, Backoff, jittered

BACKOFF = Backoff(first=1.0, longest=60.0)


def test_a_pause_doubles_with_each_failure_up_to_the_longest() -> None:
    pauses = [BACKOFF.delay(failures, fraction=0.0) for failures in range(1, 9)]
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_the_factor_is_a_backoffs_own() -> None:
    backoff = Backoff(first=1.0, longest=60.0, factor=4.0)
    assert [backoff.delay(n, fraction=0.0) for n in range(1, 6)] == [1.0, 4.0, 16.0, 60.0, 60.0]


def test_no_failure_counts_as_the_first() -> None:
    assert BACKOFF.delay(0, fraction=0.0) == 1.0


@pytest.mark.parametrize("factor", [2.0, 4.0])
def test_failures_have_no_bound(factor: float) -> None:
    backoff = Backoff(first=1.0, longest=60.0, factor=factor)
    assert backoff.delay(10**9, fraction=0.0) == 60.0


def test_what_the_other_side_asks_for_is_waited_even_beyond_the_longest() -> None:
    assert BACKOFF.delay(1, at_least=30.0, fraction=0.0) == 30.0
    assert BACKOFF.delay(1, at_least=3600.0, fraction=0.0) == 3600.0
    assert BACKOFF.delay(9, at_least=30.0, fraction=0.0) == 60.0


def test_the_whole_fraction_adds_the_largest_jitter() -> None:
    assert BACKOFF.delay(1, fraction=1.0) == 1.0 + JITTER


@given(
    st.floats(0.01, 100.0), st.floats(0.01, 1000.0), st.integers(1, 2000), st.floats(0.0, 5000.0)
)
def test_the_jitter_is_never_more_than_its_share(
    first: float, longest: float, failures: int, at_least: float
) -> None:
    backoff = Backoff(first=first, longest=longest)
    plain = backoff.delay(failures, at_least=at_least, fraction=0.0)
    assert plain >= at_least
    assert plain <= max(longest, at_least)
    assert plain <= backoff.delay(failures, at_least=at_least) <= plain * (1 + JITTER)


def test_pauses_are_spread() -> None:
    assert len({BACKOFF.delay(1) for _ in range(20)}) > 1
    assert len({jittered(30.0) for _ in range(20)}) > 1


@given(st.floats(0.1, 86400.0))
def test_a_poll_interval_is_spread_to_either_side(seconds: float) -> None:
    low, high = seconds * (1 - POLL_JITTER), seconds * (1 + POLL_JITTER)
    assert low * 0.999 <= jittered(seconds) <= high * 1.001


PACKAGE = Path(reconciler.__file__).parent
#: What sleeps, by module and argument, for another cause than a try or a poll.
OTHER_SLEEPS = {
    ("daemon/wake.py", "SETTLE"),  # for more events of the same cause
    ("daemon/forge_loop.py", "PACE"),  # the least between two rounds
    ("daemon/pull_requests.py", "max(PACE, time.monotonic() - began)"),
    ("engines/kubernetes/client.py", "CLOSING"),  # turns of the loop
    ("engines/kubernetes/copies.py", "min(max(nearest - now, PAUSE), COPYING.first)"),  # until due
    ("engines/local/scrub.py", "_REST * (time.monotonic() - began)"),  # the load on a disk
    ("web/limits.py", "wait"),  # the least between two calls
}


def sleeps(module: ast.AST) -> Iterator[tuple[str, bool]]:
    """The seconds of each pause, and whether they are spread."""
    functions = [
        f for f in ast.walk(module) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    spreading = {f.name for f in functions if any(map(_spreads, ast.walk(f)))}
    for function in functions:
        known = {
            target.id
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and _is_spread(node.value, spreading, set())
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(function):
            name = getattr(node.func, "attr", "") if isinstance(node, ast.Call) else ""
            if isinstance(node, ast.Call) and name in ("sleep", "call_later"):
                yield ast.unparse(node.args[0]), _is_spread(node.args[0], spreading, known)


def _spreads(node: ast.AST) -> bool:
    """Whether it is a call of the one back-off."""
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    return getattr(called, "attr", "") == "delay" or getattr(called, "id", "") == "jittered"


def _is_spread(value: ast.AST, spreading: set[str], known: set[str]) -> bool:
    return any(
        _spreads(node)
        or (isinstance(node, ast.Attribute) and node.attr in spreading)
        or (isinstance(node, ast.Name) and node.id in known | spreading)
        for node in ast.walk(value)
    )


def test_every_pause_between_tries_and_polls_comes_from_here() -> None:
    plain = {
        (file.relative_to(PACKAGE).as_posix(), seconds)
        for file in PACKAGE.rglob("*.py")
        for seconds, spread in sleeps(ast.parse(file.read_text(encoding="utf-8")))
        if not spread
    }
    assert plain == OTHER_SLEEPS
