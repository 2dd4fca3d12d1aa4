"""Logging to standard error, as text or as JSON lines."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from io import TextIOBase
from typing import Literal, TextIO, cast

import structlog

from reconciler.review import printable


class _StandardError(TextIOBase):
    """Standard error that loses lines it cannot write.

    The disk may be full, and the daemon must go on.
    """

    def write(self, text: str) -> int:
        with suppress(OSError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()


def _visible(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Replace control characters in the texts of a log line.

    They quote servers and commands. JSON has it as escapes anyway.
    """
    return {
        name: printable(value) if isinstance(value, str) else value for name, value in event.items()
    }


def configure_logging(*, style: Literal["auto", "text", "json"], level: str) -> None:
    """Set up structlog for the process, also again after a reload.

    ``auto`` is text on a terminal, and JSON lines elsewhere.
    """
    as_text = style == "text" or (style == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=24)
        if as_text
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if as_text else "iso", utc=not as_text),
            _visible if as_text else structlog.processors.dict_tracebacks,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _StandardError())),
        cache_logger_on_first_use=False,
    )
