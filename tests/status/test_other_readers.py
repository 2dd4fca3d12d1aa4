"""Status files mean the same to readers of YAML 1.1, such as PyYAML, as to those of 1.2."""

from __future__ import annotations

from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from reconciler.status.encoding import dump_yaml, load_yaml
from reconciler.types import JSON

#: Of YAML 1.1's booleans, y and n are read by other readers than PyYAML alone.
WORDS = "y n yes No on OFF true null ~ .inf .NaN = << 12:30:45 190:20:30.15 1_000 010 0b1 0x_1 1e3"
#: What numbers, times and indicators are made of.
SIGNS = st.text(
    st.sampled_from("0123456789abcdefxoynEN_.:+- \t=~<>!&*#'\"[]{},?|%@`/"), max_size=12
)
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.floats(allow_nan=False) | st.integers(-(2**53), 2**53)
VALUES = SIGNS | ANY | st.sampled_from(WORDS.split()) | NUMBERS | st.booleans() | st.none()


def same(found: Any, value: JSON) -> bool:
    return repr(found) == repr(value)


@given(st.dictionaries(SIGNS | ANY, VALUES | st.lists(VALUES, max_size=3), max_size=3))
def test_every_value_and_key_is_read_as_it_was(value: dict[str, Any]) -> None:
    written = dump_yaml({"params": value})
    assert same(yaml.safe_load(written), {"params": value})
    assert same(load_yaml("m.yaml", written), {"params": value})


@pytest.mark.parametrize("word", WORDS.split())
def test_what_yaml_1_1_takes_for_something_else_is_quoted(word: str) -> None:
    assert dump_yaml({"k": word}) == f"k: '{word}'\n".encode()


@pytest.mark.parametrize("word", ["a", "ye", "none", "Model", "1.2.3"])
def test_a_word_is_not_quoted(word: str) -> None:
    assert dump_yaml({"k": word}) == f"k: {word}\n".encode()
