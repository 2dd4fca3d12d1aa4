"""The event that wakes the daemon's loop."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

#: Seconds that a burst of engine events is waited for.
SETTLE = 0.05


@dataclass(slots=True)
class Wake:
    """The event that wakes the loop, and the requested work.

    A fetch that finds nothing new asks for no plan.
    """

    event: asyncio.Event = field(default_factory=asyncio.Event)
    fetch: bool = True
    plan: bool = True

    def poll(self) -> None:
        """Ask for a fetch: the remote may have changed."""
        self.fetch = True
        self.event.set()

    def replan(self) -> None:
        """Ask for a plan: something else that it depends on has changed."""
        self.plan = True
        self.event.set()

    async def settle(self) -> None:
        """Wait for the rest of a burst, unless there is a push."""
        if not self.fetch:
            await asyncio.sleep(SETTLE)
