"""The note of progress on the leader's Lease, for users.

It goes with each renewal, so it takes no request of its own, and no right of the daemon's. A
command reads the Lease every few seconds, whatever the number of runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from reconciler.codec import CodecError
from reconciler.engine import PROGRESS, Progress
from reconciler.types import JSON

#: Bytes of a note: of some hundred runs. It is written five times in a lease.
LONGEST_NOTE = 16 << 10


def write_note(runs: Iterable[tuple[str, Progress]]) -> str:
    """Write the progress of the first runs, without metrics."""
    found: dict[str, JSON] = {}
    length = 2
    for run, progress in runs:
        told = PROGRESS.dump(replace(progress, metrics={}))
        length += len(json.dumps({run: told}))
        if length > LONGEST_NOTE:
            break
        found[run] = told
    return json.dumps(found) if found else ""


def read_note(note: str) -> dict[str, Progress]:
    """Read the progress of runs; what is not usable is left out."""
    try:
        found: JSON = json.loads(note)
    except (ValueError, RecursionError):
        return {}
    read: dict[str, Progress] = {}
    for run, told in found.items() if isinstance(found, dict) else ():
        with suppress(CodecError):
            read[run] = PROGRESS.load(told)
    return read
