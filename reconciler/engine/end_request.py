"""A user's request to end a run at once, without a commit.

An engine keeps it with the run. The run has failed then: as any failure of a command it is
remembered until the inputs or the settings of the task change, so no sync starts it again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from reconciler.codec import Codec, CodecError
from reconciler.reasons import Reason, ReasonCode

#: Characters of a cause, and of a user's name.
LONGEST_CAUSE, LONGEST_NAME = 300, 100
#: Characters of a request as text, each escaped.
LONGEST_REQUEST = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class EndRequest:
    """The user who ended a run, the time and the cause.

    Each may be unknown.
    """

    by: str = ""
    at: datetime | None = None
    cause: str = ""

    @property
    def reason(self) -> Reason:
        """The reason of the run's failure."""
        return Reason.of(
            ReasonCode.ENDED_BY_USER,
            by=_line(self.by, LONGEST_NAME) or "a user",
            at=f" on {self.at.astimezone(UTC):%Y-%m-%d at %H:%M} UTC" if self.at else "",
            cause=f": {cause}" if (cause := _line(self.cause, LONGEST_CAUSE)) else "",
        )

    def dump(self) -> str:
        """Return the request as JSON."""
        bounded = EndRequest(
            by=_line(self.by, LONGEST_NAME), at=self.at, cause=_line(self.cause, LONGEST_CAUSE)
        )
        return json.dumps(_CODEC.dump(bounded))


_CODEC = Codec(EndRequest, omit="default")


def read_end_request(text: str) -> EndRequest | None:
    """Read a request's JSON; None for what is none."""
    if len(text) > LONGEST_REQUEST:
        return None
    try:
        return _CODEC.load(json.loads(text))
    except (ValueError, RecursionError, CodecError):
        return None


def _line(text: str, longest: int) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
