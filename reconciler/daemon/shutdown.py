"""Work that goes on until it is told to end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def carry_out(work: Coroutine[Any, Any, None], *, until: asyncio.Event) -> bool:
    """Do the work, or cancel it once ``until`` is set; says whether it came to its own end.

    What it raises is raised, also what it raises while it is being cancelled.
    """
    task = asyncio.create_task(work)
    ending = asyncio.create_task(until.wait())
    await asyncio.wait([task, ending], return_when=asyncio.FIRST_COMPLETED)
    ending.cancel()
    if not task.done():
        task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return False
    return True
