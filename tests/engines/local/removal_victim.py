"""A collection to be killed: ``python -m tests.engines.local.removal_victim STEP WHAT URL KEY``.

It is killed before its STEP-th change of a folder, or of a bucket.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from unittest import mock

from reconciler import stores
from reconciler.engines.local import ArtifactPlaces
from reconciler.types import TaskKey

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}
left = 0


def step() -> None:
    global left  # noqa: PLW0603 -- an audit hook has no state of its own
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)


def audit(event: str, _: tuple[object, ...]) -> None:
    if event in CHANGES:
        step()


def stepped(change: Callable[..., None]) -> Callable[..., None]:
    def change_after_step(*given: object) -> None:
        step()
        change(*given)

    return change_after_step


def delete_one_by_one(folder: str, paths: list[str]) -> None:
    """What a store does of one request may be any part of it."""
    for path in paths:
        step()
        deleted(folder, [path])


deleted = stores.delete


def main(at: int, what: str, url: str, key: str) -> None:
    global left
    places, left = ArtifactPlaces(), at
    sys.addaudithook(audit)
    with (
        mock.patch.object(stores, "copy", stepped(stores.copy)),
        mock.patch.object(stores, "delete", delete_one_by_one),
    ):
        getattr(places, what)(url, TaskKey(key))


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
