"""The events of a YAML text, by two parsers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.cyaml import CParser  # type: ignore[attr-defined] # not in its stubs
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError


class UnreadableError(Exception):
    """The text cannot be parsed beyond a place; 0, 0: at all."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.message, self.line, self.column = message, line, column


class RejectedTextError(UnreadableError):
    """The parser rejects the text."""


def fast_events(text: str) -> Iterator[Any]:
    """Yield the events of libyaml, stricter than YAML 1.2.

    Raises RejectedTextError.
    """
    try:
        parser = CParser(text)
        while (event := parser.get_event()) is not None:
            yield event
    except YAMLError as error:
        raise _syntax_error(error, text) from error


def slow_events(text: str) -> Iterator[Any]:
    """Yield the events of the Python parser.

    Raises RejectedTextError.
    """
    try:
        yield from YAML(typ="safe", pure=True).parse(text)
    except YAMLError as error:
        raise _syntax_error(error, text) from error
    except (ValueError, OverflowError) as error:
        # It hands escapes beyond Unicode and overlong version numbers to chr() and int().
        raise RejectedTextError(
            "not valid YAML: an escape or a directive is out of range"
        ) from error


def _syntax_error(error: YAMLError, text: str) -> RejectedTextError:
    if isinstance(error, ReaderError):
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        code = ord(error.character) if isinstance(error.character, str) else error.character
        return RejectedTextError(f"the character U+{code:04X} is not allowed", line, column)
    if isinstance(error, MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        reason = " ".join(filter(None, [error.context, error.problem])) or "it cannot be parsed"
        place = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
        return RejectedTextError(f"not valid YAML: {reason:.300}", *place)
    return RejectedTextError(f"not valid YAML: {str(error).partition(chr(10))[0]:.300}")
