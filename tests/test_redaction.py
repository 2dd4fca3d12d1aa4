"""Secrets are removed from texts of others, and nothing else is."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler import redaction
from tests.planted import PLANTED, assert_without


def test_every_piece_of_a_secret_is_replaced_once() -> None:
    text = f"denied for {PLANTED}, and again for {PLANTED[:12]}: {PLANTED}{PLANTED}"
    assert redaction.without(text, [PLANTED]) == "denied for ***, and again for ***: ***"


def test_each_line_of_a_secret_is_one() -> None:
    assert redaction.without("no second-line", ["line-one\nsecond-line"]) == "no ***"


def test_what_is_no_secret_stays() -> None:
    text = "fatal: unable to access 'https://git.example.com/team/models/'"
    assert redaction.without(text, [PLANTED, "an", "u"]) == text


@pytest.mark.parametrize("size", [4, 5, 7])
def test_a_short_secret_is_replaced_as_a_whole(size: int) -> None:
    secret = "k3y!#%?"[:size]
    assert redaction.without(f"a {secret} b", [secret]) == "a *** b"


@given(st.binary(max_size=5), st.text(min_size=8, max_size=40), st.binary(max_size=5))
def test_no_base64_of_a_secret_among_other_bytes_is_left(
    before: bytes, secret: str, after: bytes
) -> None:
    told = base64.b64encode(before + secret.encode() + after).decode()
    shown = redaction.without(told, [secret])
    assert "***" in shown
    assert len(shown.replace("***", "")) <= -(-len(before) * 8 // 6) + -(-len(after) * 8 // 6) + 2


def test_a_wrapped_encoding_is_hidden_line_by_line() -> None:
    secret = "0123456789abcdef" * 8
    for told in base64.encodebytes(b"xy" + secret.encode()).decode().splitlines():
        assert_without(secret, redaction.without(told, [secret]))
