"""A fast reader of YAML in the layout of status files.

A start reads the files of all objects, and the events of a YAML parser take most of that. The
layout has one line for each value: block mappings, two spaces a level, lists at the level of their
key, and values of printable ASCII. The reader knows such lines and nothing else. At a line of any
other form the whole text is left to the YAML parser, so what is read is the same.
"""

from __future__ import annotations

import re
from typing import Any

from reconciler.manifests import FIRST_RESOLVED, resolve_scalar

#: Bounds of a text, in bytes and levels; a larger one is left to the YAML parser.
LARGEST = 256 << 10
DEEPEST = 32

# A plain text has no "#", no ":" at the end of a word, and no indicator at its beginning.
_SIGNS = r"[!-\"$-9;-~]"
_REST = rf"{_SIGNS}*(?::+{_SIGNS}+)*"
_PLAIN = rf"[A-Za-z0-9_/.+(]{_REST}(?: {_SIGNS}{_REST})*"
_QUOTED = r"'(?:[ -&(-~]|'')*'"
_VALUE = rf"{_PLAIN}|{_QUOTED}|\{{\}}|\[\]"
_ENTRY = rf"([A-Za-z][A-Za-z0-9_.-]{{0,99}}):(?: ({_VALUE}))?"
#: Spaces, the sign of an item, and then a key with or without a value, or a value alone.
_LINE = re.compile(rf"((?:  )*)(- )?(?:{_ENTRY}|({_VALUE}))")


class _OtherLayoutError(Exception):
    """A line is of another form."""


def read_own_layout(data: bytes) -> dict[str, Any] | None:
    """Return the mapping of a text; None if it has another layout."""
    if len(data) > LARGEST or not data.endswith(b"\n") or not data.isascii():
        return None
    try:
        return _read(data[:-1].decode("ascii").split("\n"))
    except (_OtherLayoutError, ValueError):  # ValueError: a number of too many digits
        return None


def _read(lines: list[str]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    # The open collections with their columns. A list has one more than its dashes: it is within
    # the mapping at the column of the dashes, and around those after them.
    stack: list[tuple[int, Any]] = [(0, root)]
    begun: str | None = None  # a key whose collection begins in the next line
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None:
            raise _OtherLayoutError
        indent, item, key, value, alone = match.groups()
        column = len(indent)
        if begun is not None:
            around, mapping = stack[-1]
            if column != (around if item else around + 2) or len(stack) > DEEPEST:
                raise _OtherLayoutError
            mapping[begun] = [] if item else {}
            stack.append((column + 1 if item else column, mapping[begun]))
            begun = None
        if item:
            _close(stack, column + 1)
            if key is None:
                stack[-1][1].append(_value(alone))
                continue
            mapping = {}
            stack[-1][1].append(mapping)
            stack.append((column + 2, mapping))
        else:
            _close(stack, column)
            mapping = stack[-1][1]
        if key is None or key in mapping or resolve_scalar(key) != key:
            raise _OtherLayoutError
        if value is None:
            begun = key
        else:
            mapping[key] = _value(value)
    if begun is not None:
        raise _OtherLayoutError
    return root


def _close(stack: list[tuple[int, Any]], column: int) -> None:
    """Close the collections that end before a line at a column."""
    while stack[-1][0] > column:
        stack.pop()
    if stack[-1][0] != column:
        raise _OtherLayoutError


def _value(text: str) -> Any:
    first = text[0]
    if first == "'":
        return text[1:-1].replace("''", "'")
    if first in "{[":
        return {} if first == "{" else []
    return resolve_scalar(text) if first in FIRST_RESOLVED else text
