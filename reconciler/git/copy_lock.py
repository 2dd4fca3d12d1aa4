"""A lock for copies that several commands of a user share.

Two that fetch into one copy at a time find each other's locks, or remove them as left over.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reconciler.backoff import Backoff
from reconciler.errors import GitError
from reconciler.git.errors import writing

#: Seconds for others to end; a fetch has a deadline, and what is read after it is little.
PATIENCE = 120.0
_LOOK = Backoff(first=0.02, longest=0.2)


@contextmanager
def alone(copy: Path) -> Iterator[None]:
    """Work on a copy while no other process does. Raises GitError."""
    path = copy.with_name(f"{copy.name}.lock")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    with file:
        deadline, tries = time.monotonic() + PATIENCE, 0
        while not _taken(file.fileno()):
            if time.monotonic() >= deadline:
                raise GitError(f"another command has been working on {copy} for {PATIENCE:g} s")
            tries += 1
            time.sleep(_LOOK.delay(tries))
        yield


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
