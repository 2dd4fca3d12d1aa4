"""Recovery of damaged repositories of ours.

Each is only a copy of a remote, and can be made anew.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import pygit2

from reconciler.git.errors import DamagedError

T = TypeVar("T")

#: Errors of libgit2 where it reads a copy itself: KeyError is that of an object that is missing.
READ_ERRORS = (DamagedError, KeyError, pygit2.GitError)


def rebuilding(
    work: Callable[[], T],
    rebuild: Callable[[], object],
    *,
    damage: tuple[type[Exception], ...] = (DamagedError,),
    tries: int = 1,
) -> T:
    """Run work on a copy; rebuild a damaged copy and try again.

    ``damage`` are the errors that stand for it, and ``tries`` is how often the work may fail with
    one before the copy counts as damaged. What fails after the rebuild is raised.
    """
    for _ in range(tries):
        with suppress(*damage):
            return work()
    # Not in a handler: the error's frames hold on to the objects that were being read, and they
    # to the damaged pack.
    rebuild()
    return work()
