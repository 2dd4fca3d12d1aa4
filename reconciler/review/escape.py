"""What people wrote, made harmless for where it is shown.

Manifests, file names and the last line of a failed command come from whoever may open a pull
request. On a terminal they must not move the cursor; in a comment they must not call people,
link, load images or break out of what they stand in.
"""

from __future__ import annotations

import re
import unicodedata

LONGEST = 240
#: Words that no forge makes anything of, wherever they stand within a line.
_HARMLESS = re.compile(r"[A-Za-z0-9 ,.;:()/→…\"'=%+-]*")
_LINKS = re.compile(r"(?i)://|www\.|mailto:|xmpp:|\b[a-z]+-\d+|:[a-z0-9+-]+:")


def printable(text: str) -> str:
    """One line without characters that control anything: they are told by their code."""
    return plain(" ".join(text.split()))


def plain(text: str) -> str:
    """The text with everything told by its code that controls, reorders or hides anything."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _visible(c) else _named(c) for c in text)


def code(text: str, longest: int = LONGEST) -> str:
    """A code span, within which a forge interprets nothing, cut to a length."""
    words = _short(printable(text), longest)
    fence = "`" * (max((len(run) for run in re.findall("`+", words)), default=0) + 1)
    # One space on each side is taken off again, and lets the text begin or end with a backtick.
    pad = " " if not words or "`" in (words[0], words[-1]) else ""
    return f"{fence}{pad}{words or '(empty)'}{pad}{fence}"


def prose(text: str, longest: int = LONGEST) -> str:
    """Plain text where it is harmless, else a code span: a sentence may quote what people wrote."""
    words = _short(printable(text), longest)
    if _HARMLESS.fullmatch(words) and not _LINKS.search(words):
        return words
    return code(words, longest)


def label(text: str, longest: int = 60) -> str:
    """The text of a mermaid node, within quotes: all but plain characters as character codes."""
    words = _short(printable(text), longest)
    return "".join(c if c in _PLAIN else f"#{ord(c)};" for c in words)


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .-_/")


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _visible(char: str) -> bool:
    """Neither control characters nor those that reorder, join or hide what is beside them."""
    return unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def _named(char: str) -> str:
    return f"\\x{ord(char):02x}" if ord(char) < 0x100 else f"\\u{ord(char):04x}"
