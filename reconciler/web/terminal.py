"""Output of commands as a terminal shows it, without control sequences."""

from __future__ import annotations

import re
from dataclasses import dataclass

from reconciler.review import plain

LINES = 200
#: Bytes of a log that are read for so many lines.
LONGEST = 256 << 10
_LONGEST_LINE = 2000
#: Colours and other sequences of terminals: CSI, OSC (a window's title, a link), and the rest.
_SEQUENCES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]"
)


@dataclass(frozen=True, slots=True)
class TerminalOutput:
    """The last lines; ``cut``: others came before them."""

    lines: tuple[str, ...]
    cut: bool


def terminal_output(data: bytes, *, whole: bool) -> TerminalOutput:
    """Return the lines of a log's end.

    Unless ``whole``, the data begins within a line, which is left out.
    """
    text = _SEQUENCES.sub("", data.decode(errors="replace"))
    lines = text.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    if not whole and len(lines) > 1:
        del lines[0]
    cut = not whole or len(lines) > LINES
    return TerminalOutput(tuple(map(_line, lines[-LINES:])), cut)


def _line(line: str) -> str:
    """Clean one line; of a progress bar the last state is left."""
    last = line.rstrip("\r").rpartition("\r")[2].expandtabs()
    if len(last) > _LONGEST_LINE:
        last = f"{last[:_LONGEST_LINE]} … ({len(last) - _LONGEST_LINE} more characters)"
    return plain(last)
