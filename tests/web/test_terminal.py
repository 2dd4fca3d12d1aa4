"""A log as it is shown: the last lines, and nothing that acts on who reads them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.web.terminal import LINES, terminal_output


def lines(data: bytes, *, whole: bool = True) -> tuple[str, ...]:
    return terminal_output(data, whole=whole).lines


def test_the_last_lines_are_shown_and_it_is_said_that_others_came_before() -> None:
    found = terminal_output(b"".join(b"line %d\n" % n for n in range(1000)), whole=True)
    assert found.lines == tuple(f"line {n}" for n in range(1000 - LINES, 1000))
    assert found.cut


def test_of_a_log_that_was_cut_the_first_half_line_is_left_out() -> None:
    assert lines(b"alf a line\nwhole\n", whole=False) == ("whole",)


def test_a_last_line_without_its_end_is_shown() -> None:
    assert lines(b"one\ntw") == ("one", "tw")


def test_a_progress_bar_is_left_as_a_terminal_would_leave_it() -> None:
    assert lines(b"10%\r50%\r100%\r\ndone\r\n") == ("100%", "done")


def test_colours_titles_and_links_of_terminals_are_taken_out() -> None:
    coloured = (
        b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07\x1b]8;;http://e.com\x1b\\link\x1b]8;;\x1b\\ \x1b(B."
    )
    assert lines(coloured) == ("red link .",)


def test_what_reorders_or_hides_is_told_by_its_code() -> None:
    assert lines("a\u202eb\x00c\u200bd".encode()) == ("a\\u202eb\\x00c\\u200bd",)


def test_bytes_that_are_no_text_and_endless_lines_are_survived() -> None:
    (shown,) = lines(b"\xff" + b"x" * 100_000)
    assert shown.startswith("\ufffdxxx")
    assert shown.endswith("(98001 more characters)")


@given(st.binary(max_size=200), st.booleans())
def test_whatever_was_printed_becomes_a_bounded_number_of_visible_lines(
    data: bytes, whole: bool
) -> None:
    found = lines(data, whole=whole)
    assert len(found) <= LINES
    assert all(line.isprintable() or "\ufffd" in line for line in found)
