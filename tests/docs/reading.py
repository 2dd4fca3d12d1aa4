"""The pages of the documentation as what a reader would type, and what he would then see.

A block of ``sh`` is a script. A block of ``console`` has a command on each line that begins with
``$``, and below it what it prints. A command that ends in ``# exit code N`` must end with that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples-*/README.md")])

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXIT = re.compile(r"^(?P<command>.*?)\s+# exit code (?P<code>\d+).*$")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block; ``line`` is the first one inside it."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_typed(self) -> bool:
        """Whether a reader types it."""
        return self.language in {"sh", "console"}


@dataclass(frozen=True, slots=True)
class Step:
    """Shell text, and what it prints, where the page says so."""

    where: str
    script: str
    prints: str | None = None


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page, in its order."""
    text = page.read_text()
    name = page.relative_to(ROOT).as_posix()
    return [
        Block(name, text.count("\n", 0, found.start()) + 2, found[1], found[2])
        for found in _BLOCK.finditer(text)
    ]


def steps(block: Block) -> Iterator[Step]:
    """What is typed of a block, in its order."""
    if block.language == "sh":
        yield Step(str(block), "\n".join(map(_checked, block.text.splitlines())))
        return
    command: str | None = None
    prints: list[str] = []
    for line in [*block.text.splitlines(), "$ "]:
        if not line.startswith("$ "):
            prints.append(line)
            continue
        if command is not None:
            yield Step(f"{block}: {command}", _checked(command), "\n".join(prints))
        command, prints = line.removeprefix("$ "), []


def _checked(line: str) -> str:
    """The line, made to fail where its exit code is not the one that the page names."""
    found = _EXIT.match(line)
    if not found:
        return line
    return f'code=0; {{ {found["command"]}; }} || code=$?; [ "$code" = {found["code"]} ]'


def matches(shown: str, printed: str) -> bool:
    """Whether a page shows what was printed.

    Keys, times, sizes and the width of columns are a machine's own; ``...`` stands for the rest
    of a line, or, alone on one, for any lines.
    """
    pattern = ""
    for line in _plain(shown).splitlines():
        if line == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += re.escape(line).replace(r"\.\.\.", ".*") + r"\n"
    return re.fullmatch(pattern, _plain(printed)) is not None


_OWN = [
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\dZ)?"), "DATE"),
    (re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{7,64}\b"), "HEX"),
    (re.compile(r"\b\d+(h\d+m|m\d+s|(\.\d+)?m?s)(?!\w)"), "TIME"),
    (re.compile(r"\b\d+(\.\d+)? ([KMG]i)?B\b"), "SIZE"),
    (re.compile(r"─+"), "─"),
    (re.compile(r"[ \t]+"), " "),
]


def _plain(text: str) -> str:
    for own, name in _OWN:
        text = own.sub(name, text)
    return "".join(f"{line.strip()}\n" for line in text.strip().splitlines())
