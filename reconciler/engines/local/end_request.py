"""A user's request to end a run, in the run's folder."""

from __future__ import annotations

from contextlib import suppress

from reconciler.engine import LONGEST_REQUEST, EndRequest, read_end_request
from reconciler.engines.local.control import poke
from reconciler.engines.local.fsync import write_new
from reconciler.engines.local.layout import RunDirectory
from reconciler.reasons import Reason


def request_end(run: RunDirectory, request: EndRequest) -> None:
    """Ask the supervisor of a run to end it.

    The first request counts. Raises OSError.
    """
    with suppress(FileExistsError):
        write_new(run.end, request.dump().encode())
    poke(run.control)


def end_reason(run: RunDirectory) -> Reason:
    """Return why a user ended a run."""
    text = ""
    with suppress(OSError, UnicodeDecodeError), run.end.open("rb") as file:
        text = file.read(LONGEST_REQUEST + 1).decode()
    return (read_end_request(text) or EndRequest()).reason
