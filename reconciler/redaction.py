"""Removal of known secrets, in several forms, from texts of others.

A command's last line and a server's answer are shown to many, and repeat secrets by accident: as
they are, cut, in a header's base64, percent-encoded in a URL, escaped in JSON, or in hexadecimal
digits. So a text loses every piece of `PIECE` characters that one of these forms has too, which
includes lines of an encoding that is wrapped. Who encodes a secret otherwise on purpose can still
show it; a command that has a secret can also send it.

``engines/kubernetes/wrapper.awk`` does the same in a pod.
"""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from urllib.parse import quote

#: Characters of a piece. Shorter ones are in ordinary words, and tell little of a secret.
PIECE = 8
#: A secret, or line of one, that is shorter is in ordinary words too, and protects nothing.
_SHORTEST = 4
_HIDDEN = "***"


def without(text: str, secrets: Iterable[str]) -> str:
    """Return a text with three asterisks for each secret."""
    pieces: dict[str, list[int]] = defaultdict(list)
    for start in range(len(text) - PIECE + 1):
        pieces[text[start : start + PIECE]].append(start)
    hidden = bytearray(len(text))
    for form, before, after in {form for secret in secrets for form in _forms(secret)}:
        size = min(len(form), PIECE)
        most = len(form) - size
        for start in range(most + 1):
            piece = form[start : start + size]
            for place in pieces.get(piece, ()) if size == PIECE else _places(text, piece):
                first = max(place - before, 0) if start == 0 else place
                last = min(place + size + (after if start == most else 0), len(text))
                hidden[first:last] = b"\1" * (last - first)
    shown: list[str] = []
    for char, hide in zip(text, hidden, strict=True):
        if not hide:
            shown.append(char)
        elif not shown or shown[-1] != _HIDDEN:
            shown.append(_HIDDEN)
    return "".join(shown)


def _places(text: str, form: str) -> Iterator[int]:
    start = text.find(form)
    while start >= 0:
        yield start
        start = text.find(form, start + 1)


def _forms(secret: str) -> Iterator[tuple[str, int, int]]:
    """Yield the forms of a secret and of its lines.

    Each with the numbers of characters before and after it that depend on the secret too.
    """
    for part in {secret, *secret.splitlines()}:
        if len(part) < _SHORTEST:
            continue
        data = part.encode("utf-8", "surrogateescape")
        for form in (
            part,
            part[::-1],
            json.dumps(part)[1:-1],
            json.dumps(part, ensure_ascii=False)[1:-1],
            quote(data, safe=""),
            data.hex(),
            data.hex().upper(),
        ):
            yield form, 0, 0
        # What stands before a secret shifts its base64. Of each of the three shifts these are the
        # digits that depend on the secret alone; one on each side may depend on a neighbour too.
        for shift in range(3):
            digits = base64.b64encode(bytes(shift) + data).decode()
            first, last = -(-8 * shift // 6), 8 * (shift + len(data)) // 6
            after = 1 if 8 * (shift + len(data)) % 6 else 0
            yield digits[first:last], min(shift, 1), after
            yield digits[first:last].translate(_URL_SAFE), min(shift, 1), after


_URL_SAFE = str.maketrans("+/", "-_")
