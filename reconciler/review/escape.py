"""Escaping of untrusted text for terminals, Markdown and mermaid.

Manifests, file names and the last line of a failed command come from whoever may open a pull
request. On a terminal they must not move the cursor; in a comment they must not call people,
link, load images or break out of what they stand in.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

LONGEST = 240
#: A `|` within a cell of a table.
BAR = "\\|"
#: Words that no forge makes anything of, wherever they stand within a line.
_HARMLESS = re.compile(r"[A-Za-z0-9 ,.;:()/→…\"'=%+-]*")
_LINKS = re.compile(r"(?i)://|www\.|mailto:|xmpp:|\b[a-z]+-\d+|:[a-z0-9+-]+:")


def printable(text: str) -> str:
    """Return text as one line, with control characters as their codes."""
    return plain(" ".join(text.split()))


def plain(text: str) -> str:
    """Replace characters that control, reorder or hide text by their codes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _visible(c) else _named(c) for c in text)


def code(text: str, longest: int = LONGEST) -> str:
    """Return a Markdown code span, cut to a length.

    A forge interprets nothing within it.
    """
    words = _short(printable(text), longest)
    fence = "`" * (max((len(run) for run in re.findall("`+", words)), default=0) + 1)
    # One space on each side is taken off again, and lets the text begin or end with a backtick.
    pad = " " if not words or "`" in (words[0], words[-1]) else ""
    return f"{fence}{pad}{words or '(empty)'}{pad}{fence}"


def prose(text: str, longest: int = LONGEST) -> str:
    """Return harmless text as it is, other text as code.

    A sentence may quote untrusted input.
    """
    words = _short(printable(text), longest)
    if _HARMLESS.fullmatch(words) and not _LINKS.search(words):
        return words
    return code(words, longest)


def table_row(cells: Iterable[str]) -> str:
    """Return a row of a Markdown table of cells that are Markdown.

    A ``|`` ends a cell also within a code span, so it is escaped there, too; a forge takes that
    backslash off again.
    """
    return f"| {' | '.join(cell.replace('|', BAR) for cell in cells)} |"


def label(text: str, longest: int = 60) -> str:
    """Escape the text of a quoted mermaid node.

    All but plain characters become character codes.
    """
    words = _short(printable(text), longest)
    return "".join(c if c in _PLAIN else f"#{ord(c)};" for c in words)


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .-_/")


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _visible(char: str) -> bool:
    """Return True unless a character controls, reorders, joins or hides text."""
    return unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def _named(char: str) -> str:
    return f"\\x{ord(char):02x}" if ord(char) < 0x100 else f"\\u{ord(char):04x}"
