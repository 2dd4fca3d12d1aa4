"""Output of texts that others wrote: nothing in it controls the terminal.

Errors quote servers and files, statuses quote commands, and logs are what commands printed. An
escape sequence in them could rewrite what is on the screen, set the clipboard, or answer as if the
user had typed.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator
from typing import Any

import click

from reconciler.review import plain


def visible(text: str) -> str:
    """Replace control characters by their codes; lines and tabs stay."""
    text = text.replace("\r\n", "\n")
    return "\n".join("\t".join(map(plain, line.split("\t"))) for line in text.split("\n"))


def tell(text: str, *, err: bool = False) -> None:
    """Print a text that may quote others."""
    click.echo(visible(text), err=err)


def json_text(value: Any, *, indent: int | None = 2) -> str:
    """Write JSON whose strings have characters that are not visible as escapes."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return "\n".join(
        line if plain(line) == line else "".join(map(_escaped, line)) for line in text.split("\n")
    )


def _escaped(char: str) -> str:
    return char if plain(char) == char else json.dumps(char)[1:-1]


def visible_log(chunks: Iterable[bytes]) -> Iterator[str]:
    """Decode a log for a terminal, chunk by chunk."""
    log = VisibleLog()
    for chunk in chunks:
        yield log.text(chunk)
    yield log.text(b"", final=True)


class VisibleLog:
    """A log that is decoded for a terminal as it comes."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def text(self, chunk: bytes, *, final: bool = False) -> str:
        """Return the visible text of a chunk."""
        # The states of a progress bar become lines.
        return visible(self._decoder.decode(chunk, final=final)).replace("\\x0d", "\n")
