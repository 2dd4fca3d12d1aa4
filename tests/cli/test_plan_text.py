"""A plan on a terminal: what people wrote cannot move the cursor, recolour or hide anything."""

from __future__ import annotations

import unicodedata

import click
from hypothesis import given, settings

from reconciler.review.report import Review
from reconciler.review.text import render_text
from tests.review.test_markdown import QUICK, reviews


@settings(max_examples=60, deadline=None, phases=QUICK)
@given(reviews)
def test_a_terminal_is_only_sent_our_own_controls(review: Review) -> None:
    told = render_text(review, everything=True)
    _, *sequences = told.split("\x1b")
    for sequence in sequences:  # ours are colours: digits and an m
        code, letter, _ = sequence.partition("m")
        assert letter
        assert set(code) <= set("[0123456789;")
    plain = click.unstyle(told).replace("\n", "")
    bad = {c for c in plain if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}
    assert not bad
