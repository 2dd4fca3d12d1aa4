"""Texts of others reach the terminal as text, whatever control characters they have."""

from __future__ import annotations

import json
import re
import sys
from io import StringIO

import pytest
import structlog
from rich.console import Console

from reconciler.cli import main
from reconciler.cli.table import object_table
from reconciler.cli.terminal import json_text, visible, visible_log
from reconciler.daemon.logging import configure_logging
from reconciler.planner import ObjectStatus, Phase
from reconciler.types import Kind, ObjectRef

#: A colour, a window's title, an 8-bit CSI, a carriage return, a mark that reverses text.
HOSTILE = "a\x1b[31mb\x1b]0;title\x07c\x9b2Jd\rE\u202ef"
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


def test_control_characters_are_shown_by_their_codes_and_lines_stay() -> None:
    shown = visible(f"one\ttwo\r\n{HOSTILE}")
    assert shown.startswith("one\ttwo\na\\x1b[31mb")
    assert not CONTROLS.search(shown)


def test_an_error_that_quotes_others_controls_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["status", "--config", f"{HOSTILE}.yaml"])
    with pytest.raises(SystemExit):
        main([HOSTILE])
    captured = capsys.readouterr()
    assert "title" in captured.err
    assert not CONTROLS.search(captured.err + captured.out)


def test_a_table_of_statuses_controls_no_terminal() -> None:
    ref = ObjectRef(Kind.MODEL, "default", HOSTILE)
    screen = StringIO()
    record = ObjectStatus(ref=ref, phase=Phase.FAILED, message=HOSTILE)
    Console(file=screen, width=500).print(object_table([record]))
    assert screen.getvalue().count("title") == 2
    assert not CONTROLS.search(screen.getvalue())


def test_json_has_what_is_not_visible_as_escapes_and_means_the_same() -> None:
    value = {HOSTILE: [HOSTILE, "é", "\U000e0001"]}
    text = json_text(value)
    assert not CONTROLS.search(text)
    assert "é" in text
    assert json.loads(text) == value


def test_a_log_on_a_terminal_is_text_wherever_it_is_cut() -> None:
    data = f"é {HOSTILE}\n10%\r20%\n".encode()
    whole = "".join(visible_log([data]))
    assert whole.endswith("\n10%\n20%\n")
    assert not CONTROLS.search(whole)
    pieces = [bytes([byte]) for byte in data]
    assert "".join(visible_log(pieces)) == whole


def test_a_line_of_the_daemons_log_controls_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    configure_logging(style="text", level="info")
    try:
        structlog.get_logger("test").warning(
            "cannot be read", error=HOSTILE, url="\x1b]0;title\x07"
        )
    finally:
        structlog.reset_defaults()
    assert screen.getvalue().count("title") == 2
    assert not CONTROLS.search(screen.getvalue())
