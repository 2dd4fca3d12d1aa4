"""The fast reader reads what the YAML parser reads, or leaves the text to it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.manifests import read_documents
from reconciler.status.encoding import dump_yaml
from reconciler.status.own_layout import DEEPEST, read_own_layout

WORDS = "null Null ~ true FALSE yes n 0 010 0o7 0x1f 1.5 -1 .5 .inf .NaN 1e3 12:30 << = a a:b x#y"
SIGNS = "abnNtT0159 _./:@+=#-'\",?!|>&*%{}[]<~`\\"
TEXTS = st.sampled_from(WORDS.split()) | st.text(st.sampled_from(SIGNS), max_size=12)
VALUES = TEXTS | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.booleans()
TREES = st.recursive(
    VALUES | st.none() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)
#: Pieces of lines, of which a hostile text is made.
PIECES = st.sampled_from(
    [
        *("a", "b", "a:", "a: ", ": ", "- ", "-", "  ", " ", "\n", "\n", "\n  ", "'", "''", '"'),
        *("{}", "[]", "#", " #", "---", "...", "%YAML 1.2", "&a ", "*a", "!!int ", "<<: ", "? "),
        *("|", ">", "\t", "\r", "1", "0x1", "true", "null", "a.b", "{a: b}", "x y: z", "1" * 101),
        *("\u00e9", "\u2028", "\ufeff"),
    ]
)


def parsed(data: bytes) -> Any:
    """The value by the YAML parser; None where it finds any fault."""
    documents, problems = read_documents(data, "m.yaml")
    return documents[0].value if len(documents) == 1 and not problems else None


def agrees(data: bytes) -> bool:
    """Whether the fast reader reads a text; then it reads what the parser does."""
    found = read_own_layout(data)
    if found is None:
        return False
    assert repr(found) == repr(parsed(data)), data
    return True


def test_a_status_file_is_in_the_layout() -> None:
    found = read_own_layout(
        b"kind: Model\nstatus:\n  phase: Ready\n  message: it's done, 3 of 3\n  conditions:\n"
        b"  - type: Ready\n    status: 'True'\n  history:\n  - task: train\n    params:\n"
        b"      epochs: 3\n      rate: 0.5\n    warnings: []\n  - task: load\nlist:\n- a\n- 1\n"
    )
    assert found == {
        "kind": "Model",
        "status": {
            "phase": "Ready",
            "message": "it's done, 3 of 3",
            "conditions": [{"type": "Ready", "status": "True"}],
            "history": [
                {"task": "train", "params": {"epochs": 3, "rate": 0.5}, "warnings": []},
                {"task": "load"},
            ],
        },
        "list": ["a", 1],
    }


@given(st.dictionaries(TEXTS, TREES, max_size=4))
def test_what_is_written_is_read_as_by_the_parser(value: dict[str, Any]) -> None:
    agrees(dump_yaml(value))


@given(st.lists(PIECES, max_size=24).map("".join))
@example("a: b\n  c: d\n")
@example("a: b\n  c\n")
@example("a:\nb: 1\n")
@example("a:\n- b\n  - c\n")
@example("- a\n")
@example("a: 1\na: 2\n")
@example("null: 1\n")
@example("a: b\n- c\n")
@example("a:\n    b: c\n")
@example("a:\n- b: 1\n   c: 2\n")
@example("a: 'b''\n")
@example("a: b #c\n")
@example("a: b \n")
def test_a_hostile_text_is_read_as_by_the_parser(text: str) -> None:
    agrees(f"{text}\n".encode())


LINES = st.builds(
    "{}{}{}".format,
    st.integers(0, 4).map(lambda level: " " * level),
    st.sampled_from(["", "", "- ", "- - "]),
    st.sampled_from(["a:", "b:", "a: 1", "b: x", "c: 'x'", "x", "1", "c: []", "d: x:", ""]),
)


@given(st.lists(LINES, min_size=1, max_size=8).map("\n".join))
def test_lines_of_the_layout_in_any_order_are_read_as_by_the_parser(text: str) -> None:
    agrees(f"{text}\n".encode())


def nested(levels: int) -> bytes:
    return "".join(f"{'  ' * level}a:\n" for level in range(levels)).encode() + (
        f"{'  ' * levels}a: b\n".encode()
    )


def test_a_deep_text_is_left_to_the_parser() -> None:
    assert agrees(nested(DEEPEST - 1))
    assert not agrees(nested(DEEPEST + 1))


@pytest.mark.parametrize("data", [b"", b"a: b", b"\n", b"a: b\n\n", b"a: \xff\n", b"a: b\r\n"])
def test_another_form_is_left_to_the_parser(data: bytes) -> None:
    assert not agrees(data)
