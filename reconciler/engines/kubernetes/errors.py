"""What the API server can answer instead of doing what was asked, by what is to be done about it.

Each message is fit for a status file. Of what is nobody's fault (the server is away, a quota is
used up) nothing is permanent: the daemon tries again for as long as it takes.
"""

from __future__ import annotations

import msgspec

from reconciler.engine import EngineError
from reconciler.engines.kubernetes.api_types import Status
from reconciler.errors import Trouble

_LONGEST = 1000


class ApiError(EngineError):
    """An answer other than the one wanted. ``status`` is the HTTP status, 0 without an answer."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        permanent: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, permanent=permanent)
        self.status = status
        self.retry_after = retry_after


class Unreachable(ApiError):
    """No answer, or one that says that the server is overloaded or starting."""

    trouble = Trouble.UNREACHABLE


class Forbidden(ApiError):
    """The daemon's account lacks a right, or a quota is used up."""

    trouble = Trouble.REFUSED


class NotFound(ApiError):
    """There is no such object, or no such namespace."""

    trouble = Trouble.MISSING


class Conflict(ApiError):
    """An object of this name is there already, or another one than was meant."""

    trouble = Trouble.CONFLICT


class Expired(ApiError):
    """A resourceVersion is too old to go on from: list anew."""


class Rejected(ApiError):
    """The object can never be accepted as it is: what it was rendered from must change."""

    trouble = Trouble.REJECTED


def from_answer(status: int, body: bytes, retry_after: float | None) -> ApiError:
    """The error for an HTTP status and the Status object (or page) that came with it."""
    told = _status(body)
    message = (told.message or body[:200].decode(errors="replace").strip())[:_LONGEST]
    if told.details is not None and told.details.retry_after_seconds:
        retry_after = retry_after or float(told.details.retry_after_seconds)
    match status:
        case 400 | 413 | 422:
            return Rejected(message or "it is not valid", status=status, permanent=True)
        case 401:
            return Forbidden(
                f"the API server does not accept the daemon's credentials: {message}",
                status=status,
            )
        case 403:
            return Forbidden(message or "forbidden", status=status)
        case 404:
            return NotFound(message or "not found", status=status)
        case 409 if "cannot be fulfilled on resourcequotas" in message:
            # Not of what was to be created: too many at once are counted against one quota.
            return Unreachable(message, status=status)
        case 409:
            return Conflict(message or "conflict", status=status)
        case 410:
            return Expired(message or "expired", status=status)
        case _:
            return Unreachable(
                f"the API server answered {status}: {message}",
                status=status,
                retry_after=retry_after,
            )


def _status(body: bytes) -> Status:
    try:
        return msgspec.json.decode(body, type=Status)
    except msgspec.MsgspecError:
        return Status()
