"""Puts a daemon together from its configuration, and runs it until it is told to stop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import structlog

from reconciler.config.model import Setup
from reconciler.daemon.authority import Authority
from reconciler.daemon.controller import Daemon, Observer
from reconciler.daemon.notifications import Notifier, notifying
from reconciler.daemon.pull_requests import Follower, following
from reconciler.daemon.repository_watch import watching
from reconciler.daemon.shutdown import carry_out
from reconciler.daemon.status_page import status_page
from reconciler.daemon.status_store import Reporter
from reconciler.engine import Engine
from reconciler.engines.local.engine import LocalEngine
from reconciler.git.command import end_running
from reconciler.git.mirror import Mirror
from reconciler.git.sources import Sources
from reconciler.metrics import Metrics
from reconciler.planner import ObjectStatus, Plan
from reconciler.types import BuildContext, Commit, ObjectRef, Problem
from reconciler.web.server import Served, serve
from reconciler.web.snapshot import Board
from reconciler.workspace.git_remotes import credential_table, source_reader, status_branch

log = structlog.get_logger(__name__)

#: For how many seconds a sync waits for sources; what takes longer is left to a later one, so
#: that a remote that does not answer holds up nothing but what is built from it.
SOURCE_PATIENCE = 10.0


class Running:
    """What runs now, if anything does: a replica that does not lead has no daemon."""

    def __init__(self) -> None:
        self.daemon: Daemon | None = None
        self.follower: Follower | None = None
        self._head: Commit | None = None

    def look(self) -> None:
        """The remote may have changed; a replica that does not lead looks when it does."""
        if self.daemon is not None:
            self.daemon.wake.look()
        if self.follower is not None:
            self.follower.look()

    def synced(self, head: Commit) -> None:
        """There is a plan of this head, and pull requests are for it from now on."""
        if self.follower is not None and head != self._head:
            self._head = head
            self.follower.look()

    def ready(self) -> bool:
        """Whether all is as it should be: synced once, or standing by."""
        return self.daemon is None or self.daemon.synced.is_set()


async def run_daemon(
    setup: Setup, *, once: bool, stop: asyncio.Event, observe: Observer | None = None
) -> None:
    """Run a daemon until ``stop`` is set; with ``once``, until nothing more can be done.

    Its runs go on, and the last status is pushed, however it ends. What it finds is told to
    ``observe``, or else shown on the status page.
    """
    metrics = Metrics(objects=setup.config.server.metrics_objects)
    running, board = Running(), Board()

    def tell(
        plan: Plan, records: Mapping[ObjectRef, ObjectStatus], problems: Sequence[Problem]
    ) -> None:
        (observe or board.tell)(plan, records, problems)
        running.synced(plan.situation.head)

    async def work(authority: Authority, end: asyncio.Event) -> bool:
        async with notifying(setup, metrics) as notifier:
            running.daemon = await assemble(
                setup,
                authority,
                metrics=metrics,
                observe=tell,
                notifier=notifier,
                once=once,
            )
            metrics.leader.set(1)
            try:
                return await _work(setup, running, authority, metrics, once=once, end=end)
            finally:
                metrics.leader.set(0)
                metrics.clear()
                running.daemon = None
                board.clear()

    server = setup.config.server
    secret = server.webhook_secret_file
    served = Served(
        metrics=metrics,
        ready=running.ready,
        pushed=running.look,
        branches=(setup.config.repository.branch, *sorted(setup.peer_branches.values())),
        reviews=setup.config.review is not None,
        secret_file=setup.file(secret) if secret is not None else None,
        page=status_page(setup, board, lambda: running.daemon),
    )
    async with serve("" if once else server.address, served) as bound:
        if bound:
            log.info("listening", address=bound)
        if setup.config.engine == "kubernetes":
            from reconciler.daemon.leader import while_leading  # noqa: PLC0415 -- takes a second

            await while_leading(setup, stop, work, metrics.asked)
        else:
            await work(Authority(), stop)


async def _work(
    setup: Setup,
    running: Running,
    authority: Authority,
    metrics: Metrics,
    *,
    once: bool,
    end: asyncio.Event,
) -> bool:
    """Run one daemon until ``end`` is set; says whether it came to its own end."""
    daemon = running.daemon
    assert daemon is not None
    async with AsyncExitStack() as stack:
        if not once:
            await stack.enter_async_context(watching(setup.repository_url, daemon.wake))
            follower = following(
                setup, authority, daemon.knowledge, metrics=metrics, troubles=daemon.troubles
            )
            running.follower = await stack.enter_async_context(follower)
        try:
            done = await carry_out(daemon.run(once=once), until=end)
        finally:
            running.follower = None
            end_running()  # a remote that does not answer would hold up the exit
    if not done:
        log.info("stopped; runs go on and are taken up by the next start")
    return done


async def assemble(
    setup: Setup,
    authority: Authority,
    *,
    metrics: Metrics,
    observe: Observer,
    notifier: Notifier | None = None,
    once: bool,
) -> Daemon:
    """A daemon, ready to run. With ``once`` it waits for sources, as no sync comes later."""
    git = setup.root / "git"
    mirror = Mirror.open(
        git / "manifests.git",
        setup.repository_url,
        branch=setup.config.repository.branch,
        others=sorted(setup.peer_branches.values()),
        credentials=credential_table(setup),
    )
    sources = source_reader(setup, patience=None if once else SOURCE_PATIENCE)
    reporter = Reporter(
        status_branch(setup, git / "status.git"),
        cluster=setup.config.cluster,
        instance=setup.config.kubernetes.instance,
        path=setup.config.repository.path,
        authority=authority,
        recorded=notifier.recorded if notifier is not None else lambda _before, _after: None,
    )
    return Daemon(
        setup,
        mirror=mirror,
        sources=sources,
        engine=await _engine(setup, authority, mirror, sources, metrics),
        reporter=reporter,
        metrics=metrics,
        observe=observe,
    )


async def _engine(
    setup: Setup, authority: Authority, mirror: Mirror, sources: Sources, metrics: Metrics
) -> Engine:
    if setup.config.engine == "kubernetes":
        from reconciler.daemon.leader import kubernetes_engine  # noqa: PLC0415 -- takes a second

        return await kubernetes_engine(setup, authority, metrics.asked)

    def export(context: BuildContext, destination: Path) -> None:
        if context.url or context.submodules:
            # Submodules are other repositories, also those of this one: a source's way finds them.
            url = context.url or setup.repository_url
            sources.export(replace(context, url=url), destination)
        else:
            mirror.export_tree(context.tree, destination)

    local = setup.config.local
    return LocalEngine(
        setup.root,
        slots=local.slots or os.cpu_count() or 1,
        export=export,
        secrets=setup.file(local.secrets),
    )
