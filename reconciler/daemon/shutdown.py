"""The end of a daemon: signals, a lost lease, permission to write.

SIGTERM or SIGINT sets an event. :func:`run_until` then cancels the daemon, which leaves its runs to
a later daemon and pushes the last status (``Daemon._stop`` in ``controller``); then ``app`` ends
the git commands under way, and ``leader`` gives up the Lease. A second signal changes nothing.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any


def stop_on_signals() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set, in the running loop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def run_until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Run work until it ends or ``stop`` is set, which cancels it.

    Returns whether it ended by itself. Its exceptions are raised, also those of its cancellation.
    """
    task = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not task.done():
        task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return False
    return True


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class WritePermission:
    """The right of this process to change anything, checked before each change.

    ``leads`` returns whether no other replica can have taken over; ``epoch`` counts the changes of
    leader, and is None for a daemon without replicas. The default is that of a single daemon.
    """

    leads: Callable[[], bool] = _always
    epoch: int | None = None
