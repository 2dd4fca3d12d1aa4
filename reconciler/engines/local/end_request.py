"""A user's request to end a run, in the run's folder."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from reconciler.codec import Codec, CodecError
from reconciler.engines.local.control import poke
from reconciler.engines.local.fsync import encode, read_json, write_new
from reconciler.engines.local.layout import RunDirectory
from reconciler.reasons import Reason, ReasonCode

#: Characters of a cause.
LONGEST_CAUSE = 300
_LARGEST = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    cause: str = ""


_CODEC = Codec(_End, omit="none")


def request_end(run: RunDirectory, cause: str) -> None:
    """Ask the supervisor of a run to end it.

    The first cause counts. Raises OSError.
    """
    with suppress(FileExistsError):
        write_new(run.end, encode(_CODEC.dump(_End(cause=cause[:LONGEST_CAUSE]))))
    poke(run.control)


def end_reason(run: RunDirectory) -> Reason:
    """Return why a user ended a run."""
    cause = ""
    with suppress(OSError, ValueError, CodecError):
        cause = _CODEC.load(read_json(run.end, _LARGEST)).cause
    return Reason.of(ReasonCode.ENDED_BY_USER, cause=f": {cause}" if cause else "")
