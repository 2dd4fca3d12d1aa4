"""Ignore files: patterns in gitignore syntax, matched in linear time.

Anybody who may open a pull request may write such a file. A pattern with a dozen stars keeps a
backtracking matcher busy for years; here each star ends at the first place where what follows it
fits, which decides for the whole pattern as it has no alternatives.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

#: Patterns of a file that are used; more are a problem of the file.
MOST_PATTERNS = 1_000
#: Characters of a pattern that is used.
LONGEST_PATTERN = 1_000

_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": " \t",
    "cntrl": "\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": " \t\n\v\f\r",
    "upper": "A-Z",
    "xdigit": "0-9a-fA-F",
}


class _NoMatchError(Exception):
    """A pattern that Git accepts and that matches nothing."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    """One line.

    ``whole``: it is matched with the whole path, else with the last part of it.
    """

    regex: re.Pattern[str]
    negated: bool
    folders_only: bool
    whole: bool

    def matches(self, path: str, *, folder: bool) -> bool:
        if self.folders_only and not folder:
            return False
        text = path if self.whole else path.rpartition("/")[2]
        return self.regex.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Ignore:
    """The patterns of one file, relative to its folder.

    ``truncated``: there are more patterns than :data:`MOST_PATTERNS`, of which the first are used,
    or one that is longer than :data:`LONGEST_PATTERN`, which is not.
    """

    patterns: tuple[_Pattern, ...] = field(repr=False)
    truncated: bool = False
    _folders: dict[str, bool] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def parse(cls, data: bytes) -> Ignore:
        """Parse a ``.reconcilerignore``; as in Git, an invalid line matches nothing."""
        text = data.decode("utf-8-sig", "replace")
        lines = [line.removesuffix("\r") for line in text.split("\n")]
        short = [line for line in lines if len(line) <= LONGEST_PATTERN]
        found = _patterns(short)
        patterns = tuple(islice(found, MOST_PATTERNS))
        too_many = next(found, None) is not None
        return cls(patterns, truncated=too_many or len(short) < len(lines))

    @property
    def problem(self) -> str | None:
        """The error of a file that is not used as a whole."""
        if not self.truncated:
            return None
        return (
            f"the file has more than {MOST_PATTERNS:,} patterns, or one of more than "
            f"{LONGEST_PATTERN:,} characters; those are not used"
        )

    def matches(self, path: str) -> bool:
        """Return whether a file is ignored.

        ``path`` is relative to the folder. As in Git, what is in an ignored folder cannot be
        included again.
        """
        if not self.patterns:
            return False
        folder = path.rpartition("/")[0]
        return self._folder(folder) or self._last_match(path, folder=False)

    def _folder(self, path: str) -> bool:
        if not path:
            return False
        if path not in self._folders:
            above = path.rpartition("/")[0]
            self._folders[path] = self._folder(above) or self._last_match(path, folder=True)
        return self._folders[path]

    def _last_match(self, path: str, *, folder: bool) -> bool:
        for pattern in reversed(self.patterns):
            if pattern.matches(path, folder=folder):
                return not pattern.negated
        return False


def _patterns(lines: Iterable[str]) -> Iterator[_Pattern]:
    for written in lines:
        line = _without_trailing_spaces(written)
        negated = line.startswith("!")
        body = line[negated:]
        if not body or line.startswith("#"):
            continue
        folders_only = body.endswith("/")
        body = body.removesuffix("/")
        try:
            regex = re.compile(_path_regex(body.removeprefix("/")), re.DOTALL)
        except _NoMatchError:
            continue
        yield _Pattern(regex, negated, folders_only, whole="/" in body)


def _without_trailing_spaces(line: str) -> str:
    kept = line.rstrip(" ")
    escaped = len(kept) - len(kept.rstrip("\\"))
    return f"{kept} " if escaped % 2 and kept != line else kept


def _path_regex(pattern: str) -> str:
    """Translate a pattern; ``**`` between slashes stands for any folders."""
    groups: list[list[str]] = [[]]
    for part in _split(pattern):
        if part == "**":
            groups.append([])
        else:
            groups[-1].append(_part_regex(part))
    joined = ["/".join(group) for group in groups]
    if len(joined) == 1:
        return joined[0]
    first, *middle, last = joined
    regex = f"{first}/" if groups[0] else ""
    # The groups between two ** have a fixed number of parts: the first place where one fits
    # leaves the most for the rest.
    regex += "".join(
        f"(?>(?:[^/]+/)*?{each}/)" for each, group in zip(middle, groups[1:], strict=False) if group
    )
    return regex + (f"(?:[^/]+/)*{last}" if groups[-1] else ".+")


def _split(pattern: str) -> list[str]:
    """Split a pattern at its slashes, without those in bracket expressions."""
    parts, start, at = [], 0, 0
    while at < len(pattern):
        char = pattern[at]
        if char == "/":
            parts.append(pattern[start:at])
            start = at + 1
        if char == "[":
            at = _class_regex(pattern, at + 1)[1]
        else:
            at += 2 if char == "\\" and pattern[at + 1 : at + 2] != "/" else 1
    return [*parts, pattern[start:]]


def _part_regex(part: str) -> str:
    """Translate what is between two slashes. Raises _NoMatchError."""
    pieces = [""]
    at = 0
    while at < len(part):
        char = part[at]
        at += 1
        if char == "*":
            pieces.append("")
        elif char == "?":
            pieces[-1] += "[^/]"
        elif char == "[":
            found, at = _class_regex(part, at)
            pieces[-1] += found
        else:
            if char == "\\":
                if at == len(part):
                    raise _NoMatchError
                char = part[at]
                at += 1
            pieces[-1] += re.escape(char)
    first, *rest = pieces
    if not rest:
        return first
    middle = "".join(f"(?>[^/]*?{piece})" for piece in rest[:-1] if piece)
    return f"{first}{middle}(?>[^/]*{rest[-1]}(?=/|\\Z))"


def _class_regex(part: str, at: int) -> tuple[str, int]:
    """Translate a bracket expression; returns the place after it.

    Its ``[`` is before ``at``.
    """
    negated = part[at : at + 1] in ("!", "^")
    at += negated
    content: list[str] = []
    first = True
    while first or part[at : at + 1] != "]":
        if part.startswith("[:", at) and (end := part.find(":]", at)) >= 0:
            name = part[at + 2 : end]
            if name not in _CLASSES:
                raise _NoMatchError
            content.append(_CLASSES[name])
            at, first = end + 2, False
            continue
        low, at = _class_char(part, at)
        high = low
        if part[at : at + 1] == "-" and part[at + 1 : at + 2] not in ("", "]"):
            high, at = _class_char(part, at + 1)
        if low <= high:
            content.append(f"{re.escape(low)}-{re.escape(high)}")
        first = False
    if not content:
        return ("[^/]" if negated else "(?!)"), at + 1
    return f"(?!/)[{'^' if negated else ''}{''.join(content)}]", at + 1


def _class_char(part: str, at: int) -> tuple[str, int]:
    """One character of a bracket expression, and the place after it."""
    at += part[at : at + 1] == "\\"
    if at >= len(part):
        raise _NoMatchError
    return part[at], at + 1
