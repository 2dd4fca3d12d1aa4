"""Docstrings begin with a short phrase: imperative or noun, no riddle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import reconciler

PACKAGE = Path(reconciler.__file__).parent
LONGEST = 12
#: A first line that begins so is a bare clause: of what, nobody can tell without the code.
CLAUSE = re.compile(
    r"(?i)(what|where|how|which|whether|who|whose|why|when|whatever|whoever|wherever"
    r"|of|as|from|to|in|at|with|by|for|on)\b"
)


def first_lines() -> Iterator[tuple[str, str]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(
                node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
            ) and (text := ast.get_docstring(node)):
                place = f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 1)}"
                yield place, text.splitlines()[0]


def test_a_docstring_begins_with_a_phrase_of_at_most_twelve_words() -> None:
    lines = list(first_lines())
    assert len(lines) > 1_000
    wrong = [
        f"{place}: {line}"
        for place, line in lines
        if CLAUSE.match(line) or len(line.split()) > LONGEST
    ]
    assert wrong == []


def test_a_public_class_name_stands_once() -> None:
    places: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert {name: at for name, at in places.items() if len(at) > 1} == {}
