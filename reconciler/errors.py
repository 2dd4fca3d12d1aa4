"""What every error has in common that a person is told of instead of shown a traceback."""

from __future__ import annotations

import enum


class Trouble(enum.StrEnum):
    """What kind of failure a call to the outside met: ``class`` of ``reconciler_errors_total``."""

    REFUSED = "refused"  # credentials or rights
    UNTRUSTED = "untrusted"  # its certificate or host key
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    MISSING = "missing"
    CONFLICT = "conflict"
    LIMITED = "limited"  # too many calls; it says until when
    REJECTED = "rejected"  # it can never be accepted as it is
    DAMAGED = "damaged"
    OTHER = "other"


class ReconcilerError(Exception):
    """An error whose message says what went wrong, where, and what to do."""

    trouble = Trouble.OTHER


class UsageFault(ReconcilerError):
    """What was asked for makes no sense: wrong usage, or a wrong configuration."""


def trouble_of(error: BaseException) -> Trouble:
    """What kind of failure an error is, or else the one that it was raised from."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ReconcilerError) and cause.trouble is not Trouble.OTHER:
            return cause.trouble
        cause = cause.__cause__
    return Trouble.OTHER
