"""Every reason code has an entry that the reference page can show."""

from __future__ import annotations

import ast
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

import reconciler
from reconciler.reasons import ReasonCode
from reconciler.reasons.messages import MESSAGES
from tools.reference import pages, reason_sections


def test_entries_are_those_of_the_codes() -> None:
    assert set(MESSAGES) == set(ReasonCode)


@pytest.mark.parametrize("code", ReasonCode)
def test_a_code_has_a_meaning_and_an_action(code: ReasonCode) -> None:
    entry = MESSAGES[code]
    assert entry.template.strip()
    assert entry.meaning.strip()
    assert entry.action.strip()


@pytest.mark.parametrize("code", ReasonCode)
def test_the_fields_of_a_template_are_identifiers(code: ReasonCode) -> None:
    parsed = string.Formatter().parse(MESSAGES[code].template)
    fields = [name for _, name, _, _ in parsed if name is not None]
    assert all(name.isidentifier() for name in fields), fields


def test_every_code_is_in_one_section_and_on_the_page() -> None:
    listed = [code for codes in reason_sections().values() for code in codes]
    assert listed == list(ReasonCode)
    page = pages()["reasons.md"]
    assert all(f"| `{code}` |" in page for code in ReasonCode)


def reasons_made() -> Iterator[tuple[str, ReasonCode, set[str]]]:
    """Each ``Reason.of`` with a code and arguments that are written there, with its place."""
    package = Path(reconciler.__file__).parent
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr="of", value=ast.Name(id="Reason")),
                    args=[ast.Attribute(attr=name, value=ast.Name(id="ReasonCode"))],
                    keywords=given,
                ) if all(each.arg is not None for each in given):
                    place = f"{path.relative_to(package)}:{node.lineno}"
                    yield place, ReasonCode[name], {str(each.arg) for each in given}


def test_a_reason_has_the_arguments_of_its_template() -> None:
    made = list(reasons_made())
    assert len(made) > 100
    missing = {}
    for place, code, given in made:
        parsed = string.Formatter().parse(MESSAGES[code].template)
        wanted = {name for _, name, _, _ in parsed if name is not None}
        if not wanted <= given:
            missing[place] = wanted - given
    assert not missing
