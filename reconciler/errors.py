"""What every error has in common that a person is told of instead of shown a traceback."""

from __future__ import annotations


class ReconcilerError(Exception):
    """An error whose message says what went wrong, where, and what to do."""


class UsageFault(ReconcilerError):
    """What was asked for makes no sense: wrong usage, or a wrong configuration."""
