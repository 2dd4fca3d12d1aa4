"""Puts a daemon together from its configuration, and runs it until it is told to stop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from watchfiles import awatch

from reconciler.config import Setup
from reconciler.daemon.daemon import Daemon, Observer
from reconciler.daemon.remotes import credential_table, source_reader, status_branch
from reconciler.daemon.reporter import Reporter
from reconciler.engines.local.engine import LocalEngine
from reconciler.git.command import end_running
from reconciler.git.mirror import Mirror
from reconciler.git.url import is_local, local_path
from reconciler.metrics import Metrics
from reconciler.server import serve
from reconciler.types import BuildContext

log = structlog.get_logger(__name__)


#: For how many seconds a sync waits for sources; what takes longer is left to a later one, so
#: that a remote that does not answer holds up nothing but what is built from it.
SOURCE_PATIENCE = 10.0


def assemble(setup: Setup, *, metrics: Metrics, observe: Observer, once: bool) -> Daemon:
    """A daemon, ready to run. With ``once`` it waits for sources, as no sync comes later."""
    git = setup.root / "git"
    mirror = Mirror.open(
        git / "manifests.git",
        setup.repository_url,
        branch=setup.config.repository.branch,
        credentials=credential_table(setup),
    )
    sources = source_reader(setup, patience=None if once else SOURCE_PATIENCE)

    def export(context: BuildContext, destination: Path) -> None:
        if context.url:
            sources.export(context, destination)
        else:
            mirror.export_tree(context.tree, destination)

    local = setup.config.local
    engine = LocalEngine(
        setup.root,
        slots=local.slots or os.cpu_count() or 1,
        export=export,
        secrets=setup.path(local.secrets),
    )
    reporter = Reporter(
        status_branch(setup, git / "status.git"),
        cluster=setup.config.cluster,
        instance=setup.config.kubernetes.instance,
        path=setup.config.repository.path,
    )
    return Daemon(
        setup,
        mirror=mirror,
        sources=sources,
        engine=engine,
        reporter=reporter,
        metrics=metrics,
        observe=observe,
    )


async def run_daemon(
    setup: Setup, *, once: bool, stop: asyncio.Event, observe: Observer = lambda *_: None
) -> None:
    """Run a daemon until ``stop`` is set; with ``once``, until nothing more can be done.

    Its runs go on, and the last status is pushed, however it ends.
    """
    metrics = Metrics()
    daemon = assemble(setup, metrics=metrics, observe=observe, once=once)
    address = "" if once else setup.config.server.address
    async with serve(address, registry=metrics.registry, ready=daemon.synced.is_set) as bound:
        if bound:
            log.info("listening", address=bound)
        async with watching(setup, daemon, once=once):
            work = asyncio.create_task(daemon.run(once=once))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait([work, stopping], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not work.done():
                work.cancel()
            try:
                await work
            except asyncio.CancelledError:
                log.info("stopped; runs go on and are taken up by the next start")
            finally:
                end_running()  # a remote that does not answer would hold up the exit


@asynccontextmanager
async def watching(setup: Setup, daemon: Daemon, *, once: bool) -> AsyncIterator[None]:
    """Wake the daemon when a repository on this disk changes; elsewhere the poll must do."""
    url = setup.repository_url
    if once or not is_local(url):
        yield
        return
    watcher = asyncio.create_task(_watch_repository(local_path(url), daemon))
    try:
        yield
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)


async def _watch_repository(repository: Path, daemon: Daemon) -> None:
    folder = repository / ".git" if (repository / ".git").is_dir() else repository
    try:
        # A push always writes the ref itself here; packing it later changes no commit.
        async for _ in awatch(folder / "refs" / "heads"):
            daemon.wake.look()
    except (OSError, RuntimeError) as error:
        log.warning("the repository cannot be watched; it is polled", error=str(error))
