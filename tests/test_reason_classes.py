"""Sets of reason codes stand beside the codes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import reconciler
from reconciler.reasons import FROM_GIT, ON_OTHERS, WITHOUT_RUN

PACKAGE = Path(reconciler.__file__).parent
#: The codes that the wrapper's scripts print, compared with the scripts in a test of its own.
OF_ONE_ENGINE = {"engines/kubernetes/termination.py"}


def sets_of_codes(module: ast.AST) -> Iterator[int]:
    for node in ast.walk(module):
        if isinstance(node, ast.Set):
            codes = [ast.unparse(each).startswith("ReasonCode.") for each in node.elts]
            if sum(codes) > 1:
                yield node.lineno


def test_no_module_has_a_set_of_codes_of_its_own() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if path.parent.name != "reasons"
        and [*sets_of_codes(ast.parse(path.read_text(encoding="utf-8")))]
    }
    assert found == OF_ONE_ENGINE


def test_a_task_that_waits_for_git_alone_is_not_said_to_have_no_run() -> None:
    assert ON_OTHERS < FROM_GIT
    assert not FROM_GIT & WITHOUT_RUN
