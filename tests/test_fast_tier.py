"""The tests that ``make check`` leaves to ``make test``: few, and each for a cause."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
#: Of functions; each is a way of the whole product, which no faster test goes.
MOST = 12


def test_what_is_slow_is_short_and_reasoned() -> None:
    marks = list(slow())
    assert 0 < len(marks) <= MOST
    assert [place for place, reason in marks if len(reason.split()) < 4] == []


def slow() -> Iterator[tuple[str, str]]:
    """Find the functions that are marked, with the reasons."""
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for mark in map(ast.unparse, node.decorator_list):
                    if mark.startswith("pytest.mark.slow"):
                        reason = mark.removeprefix("pytest.mark.slow").strip("()'\"")
                        yield f"{path.name}: {node.name}", reason
