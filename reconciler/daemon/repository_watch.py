"""Notices a push to a repository on this disk at once; elsewhere the poll must do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from watchfiles import awatch

from reconciler.daemon.controller import Wake
from reconciler.git import is_local, local_path

log = structlog.get_logger(__name__)


@asynccontextmanager
async def watching(url: str, wake: Wake) -> AsyncIterator[None]:
    """Wake the daemon when the repository at ``url`` changes, for as long as the block lasts."""
    if not is_local(url):
        yield
        return
    watcher = asyncio.create_task(_watch(local_path(url), wake))
    try:
        yield
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)


async def _watch(repository: Path, wake: Wake) -> None:
    folder = repository / ".git" if (repository / ".git").is_dir() else repository
    try:
        # A push always writes the ref itself here; packing it later changes no commit.
        # Unfiltered: by default nothing inside a .git is told of.
        async for _ in awatch(folder / "refs" / "heads", watch_filter=None):
            wake.look()
    except (OSError, RuntimeError) as error:
        log.warning("the repository cannot be watched; it is polled", error=str(error))
