"""A run to be killed in its collection: ``python -m tests.daemon.collection_victim STEP CONFIG``.

It is ``run --once``, and is killed before the STEP-th change of a folder that it makes from the
beginning of its collection on.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any
from unittest import mock

from reconciler.cli import main
from reconciler.daemon.retention import Retention
from reconciler.engine import Collected
from tests.engines.local.removal_victim import CHANGES

left = int(sys.argv[1])
armed = False
collect_as_ever = Retention.collect


def audit(event: str, _: tuple[object, ...]) -> None:
    global left  # noqa: PLW0603 -- an audit hook has no state of its own
    if armed and event in CHANGES:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


async def collect(self: Any) -> list[Collected]:
    global armed  # noqa: PLW0603
    armed = True
    return await collect_as_ever(self)


if __name__ == "__main__":
    sys.addaudithook(audit)
    with mock.patch.object(Retention, "collect", collect):
        raise SystemExit(main(["run", "--once", "--config", sys.argv[2]]))
