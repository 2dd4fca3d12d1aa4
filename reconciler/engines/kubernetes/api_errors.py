"""Errors of an API server, by class.

Each error's message is fit for a status file. An error that no user causes (the server is away, a
quota is used up) is not permanent: the daemon tries again for as long as it takes.
"""

from __future__ import annotations

import msgspec

from reconciler.engine import EngineError
from reconciler.engines.kubernetes.api_types import Status, StatusDetails
from reconciler.errors import Trouble
from reconciler.reasons import Reason, ReasonCode

#: Characters of a server's message that are kept.
_LONGEST = 1000


class ApiError(EngineError):
    """An answer that is not a success.

    ``status`` is the HTTP status, 0 without an answer.
    """

    def __init__(
        self,
        reason: Reason,
        *,
        status: int = 0,
        permanent: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(reason, permanent=permanent)
        self.status = status
        self.retry_after = retry_after


class Unreachable(ApiError):
    """No answer, or that of a server that is overloaded or starting."""

    trouble = Trouble.UNREACHABLE


class Forbidden(ApiError):
    """The daemon's account lacks a right, or a quota is used up."""

    trouble = Trouble.REFUSED


class NotFound(ApiError):
    """There is no such object, or no such namespace."""

    trouble = Trouble.MISSING


class ApiConflict(ApiError):
    """An object of this name exists already, or has another UID."""

    trouble = Trouble.CONFLICT


class Expired(ApiError):
    """A resourceVersion is too old to go on from: list anew."""


class Rejected(ApiError):
    """The object is invalid.

    It can never be accepted as it is: its manifest or the configuration must change.
    """

    trouble = Trouble.REJECTED


def from_answer(status: int, body: bytes, retry_after: float | None) -> ApiError:
    """Return the error for an HTTP status and the answer's body.

    The body is a Status object, or a page of a proxy.
    """
    answer = _status(body)
    text = (answer.message or body[:200].decode(errors="replace").strip())[:_LONGEST]
    details = answer.details or StatusDetails()
    if details.retry_after_seconds:
        retry_after = retry_after or float(details.retry_after_seconds)
    match status:
        case 400 | 413 | 422:
            return Rejected(_refused(text or "it is not valid"), status=status, permanent=True)
        case 401:
            reason = Reason.of(ReasonCode.API_SERVER_UNAUTHORIZED, detail=text)
            return Forbidden(reason, status=status)
        case 403:
            reason = Reason.of(ReasonCode.API_SERVER_FORBIDDEN, detail=text or "forbidden")
            return Forbidden(reason, status=status)
        case 404:
            return NotFound(_refused(text or "not found"), status=status)
        case 409 if details.kind == "resourcequotas":
            # Not of the object to be created: too many at once are counted against one quota.
            return Unreachable(_refused(text), status=status)
        case 409:
            return ApiConflict(_refused(text or "conflict"), status=status)
        case 410:
            return Expired(_refused(text or "expired"), status=status)
        case _:
            reason = Reason.of(ReasonCode.API_SERVER_FAILED, status=status, detail=text)
            return Unreachable(reason, status=status, retry_after=retry_after)


def _refused(detail: str) -> Reason:
    return Reason.of(ReasonCode.API_SERVER_REFUSED, detail=detail)


def _status(body: bytes) -> Status:
    try:
        return msgspec.json.decode(body, type=Status)
    except (msgspec.MsgspecError, RecursionError):
        return Status()
