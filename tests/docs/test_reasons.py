"""Every reason code has an entry that the reference page can show."""

from __future__ import annotations

import string

import pytest

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
