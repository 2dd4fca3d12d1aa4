"""Plain scalars by the core schema of YAML 1.2. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from reconciler.types import JSON

LONGEST_NUMBER = 100

_WORDS: dict[str, JSON] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
#: Beginnings of the texts that stand for anything but themselves.
FIRST_RESOLVED = frozenset({word[:1] for word in _WORDS} | set("+-.0123456789"))
_NUMBER = re.compile(
    r"(?P<int>[-+]?[0-9]+)|(?P<octal>0o[0-7]+)|(?P<hex>0x[0-9a-fA-F]+)"
    r"|(?P<special>[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))"
    r"|(?P<float>[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)"
)
_NUMBERS: dict[str, Callable[[str], JSON]] = {
    "int": int,
    "octal": lambda text: int(text[2:], 8),
    "hex": lambda text: int(text[2:], 16),
    "float": float,
}


def resolve_scalar(text: str) -> JSON:
    """Return the value of a plain scalar.

    Raises ValueError for a number with more than :data:`LONGEST_NUMBER` digits.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    match = _NUMBER.fullmatch(text)
    if match is None:
        return text
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"a number has more than {LONGEST_NUMBER} digits")
    if match.lastgroup == "special":
        return float(text.replace(".", "", 1))
    return _NUMBERS[str(match.lastgroup)](text)
