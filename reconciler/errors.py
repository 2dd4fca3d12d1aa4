"""Base classes of errors that users see without a traceback."""

from __future__ import annotations

import enum


class Trouble(enum.StrEnum):
    """The kind of an outside call's failure: ``class`` of ``reconciler_errors_total``."""

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
    """An error whose message has cause, place and remedy.

    ``permanent``: the same call with the same input fails for ever; an input must change.
    """

    trouble = Trouble.OTHER
    permanent = False


class UsageFault(ReconcilerError):
    """Wrong usage of the command line, or a wrong configuration."""


class GitError(ReconcilerError):
    """A failed Git operation, or a URL of no repository.

    The message names the URL without its secrets, and what to do.
    """

    def __init__(self, message: str, trouble: Trouble | None = None) -> None:
        super().__init__(message)
        if trouble is not None:
            self.trouble = trouble


def trouble_of(error: BaseException) -> Trouble:
    """Return an error's kind, or else that of its causes."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ReconcilerError) and cause.trouble is not Trouble.OTHER:
            return cause.trouble
        cause = cause.__cause__
    return Trouble.OTHER
