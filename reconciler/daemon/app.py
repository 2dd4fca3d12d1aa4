"""Assembly of a daemon, its HTTP server, and its run."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import structlog
from watchfiles import awatch

from reconciler.config import Setup
from reconciler.daemon.bucket_parts import MountedBuckets
from reconciler.daemon.controller import Daemon
from reconciler.daemon.local_try import LocalTry, Select
from reconciler.daemon.notifications import Notifier, notifying
from reconciler.daemon.once import OncePatience
from reconciler.daemon.plan_reporter import Observer
from reconciler.daemon.progress import progress_of_runs
from reconciler.daemon.pull_requests import PullRequestController, planning_pull_requests
from reconciler.daemon.retention_heads import reading_heads
from reconciler.daemon.retention_sources import RequestReferences, RetentionSources, no_requests
from reconciler.daemon.shutdown import WritePermission, run_until
from reconciler.daemon.status_page import local_buckets, status_page
from reconciler.daemon.status_store import StatusStore
from reconciler.daemon.update_requests import UpdateRequestController, requesting_updates
from reconciler.daemon.wake import Wake
from reconciler.engine import Engine
from reconciler.engines.local import (
    ArtifactPlaces,
    Containers,
    IsolationRequest,
    LocalEngine,
    RootLayout,
)
from reconciler.errors import UsageFault
from reconciler.git import Mirror, Sources, end_running, is_local, local_path
from reconciler.image_registry import ImageRegistry
from reconciler.manifests import ParamChange
from reconciler.metrics import Metrics
from reconciler.planner import ObjectStatus, Plan, Reference, unreadable
from reconciler.reasons import Reason
from reconciler.types import BuildContext, Commit, ObjectRef, Problem
from reconciler.web import PageCache, Served, serve
from reconciler.workspace import credential_table, git_folder, source_reader, status_branch

log = structlog.get_logger(__name__)

#: Seconds that a sync waits for sources. Slower ones are left to a later sync, so that a remote
#: that does not answer delays only what is built from it.
SOURCE_PATIENCE = 10.0


class Replica:
    """The daemon of this process while it leads; otherwise none."""

    def __init__(self) -> None:
        self.daemon: Daemon | None = None
        self.pull_requests: PullRequestController | None = None
        self.update_requests: UpdateRequestController | None = None
        self.plan: Plan | None = None
        self._head: Commit | None = None

    def poll(self) -> None:
        """Poll the remote, which may have changed; no-op while standing by.

        A replica polls at the beginning of its lead anyway.
        """
        if self.daemon is not None:
            self.daemon.wake.poll()
        if self.pull_requests is not None:
            self.pull_requests.loop.poll()

    def requests(self, setup: Setup) -> tuple[Sequence[Reference], Sequence[Reason]]:
        """Return what open pull requests refer to, and the doubts about it."""
        if self.pull_requests is not None:
            return self.pull_requests.references()
        if setup.config.review is None:
            return (), ()
        return (), (unreadable("list of pull requests", "", "`run --once` reads none"),)

    def synced(self, plan: Plan) -> None:
        """Have pull requests planned again, if their base branch has moved."""
        self.plan, head = plan, plan.inputs.head
        if self.update_requests is not None:
            self.update_requests.loop.poll()
        if self.pull_requests is not None and head != self._head:
            self._head = head
            self.pull_requests.loop.poll()

    def ready(self) -> bool:
        """Return whether the replica has synced once, or stands by."""
        return self.daemon is None or self.daemon.synced.is_set()


async def run_daemon(
    setup: Setup,
    *,
    once: OncePatience | None = None,
    stop: asyncio.Event,
    observe: Observer | None = None,
) -> None:
    """Run a daemon until ``stop`` is set.

    With ``once`` it ends when nothing more can be done. Its runs go on, and the last status is
    pushed, however it ends. ``observe`` is called after each sync; without one, the status page
    shows the result.
    """
    replica = Replica()
    progress, reports, note = progress_of_runs(setup, lambda: replica.daemon)
    metrics = Metrics(objects=setup.config.server.metrics_objects, latest=progress.latest)
    cache = PageCache()

    def observe_sync(
        plan: Plan, records: Mapping[ObjectRef, ObjectStatus], problems: Sequence[Problem]
    ) -> None:
        collection = replica.daemon.collection if replica.daemon is not None else None
        if observe is not None:
            observe(plan, records, problems)
        else:
            cache.update(plan, records, problems, collection)
        replica.synced(plan)

    async def work(permission: WritePermission, end: asyncio.Event) -> bool:
        async with notifying(setup, metrics) as notifier:
            replica.daemon = await assemble(
                setup,
                permission,
                metrics=metrics,
                observe=observe_sync,
                notifier=notifier,
                requests=lambda: replica.requests(setup),
                once=once is not None,
            )
            metrics.leader.set(1)
            try:
                return await _work(setup, replica, permission, metrics, once=once, end=end)
            finally:
                metrics.leader.set(0)
                metrics.clear()
                replica.daemon = replica.plan = None
                cache.clear()

    server = setup.config.server
    secret = server.webhook_secret_file
    served = Served(
        metrics=metrics,
        ready=replica.ready,
        pushed=replica.poll,
        branches=(setup.config.repository.branch, *sorted(setup.cluster_branches.values())),
        reviews=setup.config.review is not None,
        secret_file=setup.file(secret) if secret is not None else None,
        page=status_page(setup, cache, lambda: replica.daemon, progress),
        reports=reports,
    )
    async with serve("" if once else server.address, served) as bound:
        if bound:
            log.info("listening", address=bound)
        if setup.config.engine == "kubernetes":
            from reconciler.daemon.leader import while_leading  # noqa: PLC0415 -- takes a second

            # A leader that was killed is given up after its lease.
            lease = setup.config.kubernetes.lease
            patience = max(once.seconds, 2 * lease) if once is not None else None
            await while_leading(setup, stop, work, metrics.asked, note=note, patience=patience)
        else:
            await work(WritePermission(), stop)


async def _work(
    setup: Setup,
    replica: Replica,
    permission: WritePermission,
    metrics: Metrics,
    *,
    once: OncePatience | None,
    end: asyncio.Event,
) -> bool:
    """Run one daemon until ``end``; returns whether it ended by itself."""
    daemon = replica.daemon
    assert daemon is not None
    async with AsyncExitStack() as stack:
        if once is None:
            await stack.enter_async_context(watching(setup.repository_url, daemon.wake))
            pull_requests = planning_pull_requests(
                setup, permission, daemon.state, metrics=metrics, troubles=daemon.troubles
            )
            replica.pull_requests = await stack.enter_async_context(pull_requests)
            updates = requesting_updates(
                setup,
                permission,
                lambda: replica.plan,
                metrics=metrics,
                troubles=daemon.troubles,
            )
            replica.update_requests = await stack.enter_async_context(updates)
        try:
            done = await run_until(end, daemon.run(once=once))
        finally:
            replica.pull_requests = replica.update_requests = None
            end_running()  # a remote that does not answer would delay the exit
    if not done:
        log.info("stopped; runs go on and are taken up by the next start")
    return done


async def assemble(
    setup: Setup,
    permission: WritePermission,
    *,
    metrics: Metrics,
    observe: Observer,
    notifier: Notifier | None = None,
    requests: RequestReferences = no_requests,
    once: bool,
) -> Daemon:
    """Assemble a daemon, ready to run.

    With ``once`` a sync waits for sources without a limit, as no other comes later.
    """
    mirror = _mirror(setup)
    sources = source_reader(setup, patience=None if once else SOURCE_PATIENCE)
    store = _store(setup, permission, notifier)
    engine = await _engine(setup, permission, mirror, sources, metrics)
    return Daemon(
        setup,
        mirror=mirror,
        sources=sources,
        engine=engine,
        store=store,
        metrics=metrics,
        retention=RetentionSources(
            policy=setup.retention,
            own=setup.own_cluster,
            places=ArtifactPlaces(
                RootLayout(setup.root) if setup.config.engine == "local" else None
            ),
            mounted=_mounted_buckets(setup, engine),
            images=_image_registry(setup),
            requests=requests,
            heads=reading_heads(setup, mirror),
            leads=permission.leads,
        ),
        observe=observe,
    )


async def assemble_try(
    setup: Setup, changes: Sequence[ParamChange], *, select: Select, observe: Observer
) -> LocalTry:
    """Assemble a try, ready to run.

    Raises UsageFault for another engine than the local one.
    """
    if setup.config.engine != "local":
        raise UsageFault(
            f"--set tries params on the local engine alone, and this configuration has engine: "
            f"{setup.config.engine}; commit the change, on a branch of its own perhaps"
        )
    permission = WritePermission()
    mirror = _mirror(setup)
    sources = source_reader(setup, patience=None)
    engine = await _engine(setup, permission, mirror, sources, Metrics())
    assert isinstance(engine, LocalEngine)
    return LocalTry(
        setup=setup,
        mirror=mirror,
        sources=sources,
        engine=engine,
        store=_store(setup, permission),
        select=select,
        changes=tuple(changes),
        observe=observe,
    )


def _mounted_buckets(setup: Setup, engine: Engine) -> MountedBuckets | None:
    """Return the buckets that pods alone reach; locally None."""
    if setup.config.engine == "local":
        return None
    from reconciler.daemon.leader import bucket_jobs  # noqa: PLC0415 -- takes a second

    return MountedBuckets(
        jobs=bucket_jobs(setup, engine),
        has=setup.is_mounted,
        listed=bool(setup.config.retention.model_fields_set - {"verify"}),
    )


def _image_registry(setup: Setup) -> ImageRegistry | None:
    """Return the registry that builds push to; None without one."""
    registry = setup.config.registry
    if registry is None or setup.config.engine == "local":
        return None
    return ImageRegistry(
        host=registry.url.partition("/")[0],
        insecure=registry.insecure,
        ca_file=setup.optional_file(setup.config.tls.ca_file),
        credentials=setup.optional_file(registry.credentials_file),
    )


def _mirror(setup: Setup) -> Mirror:
    """Open the mirror of the manifest repository. Raises GitError."""
    return Mirror.open(
        git_folder(setup) / "manifests.git",
        setup.repository_url,
        branch=setup.config.repository.branch,
        others=sorted(setup.cluster_branches.values()),
        credentials=credential_table(setup),
    )


def _store(
    setup: Setup, permission: WritePermission, notifier: Notifier | None = None
) -> StatusStore:
    """Open the status branch."""
    return StatusStore(
        status_branch(setup, git_folder(setup) / "status.git"),
        cluster=setup.config.cluster,
        instance=setup.config.kubernetes.instance,
        path=setup.config.repository.path,
        own=setup.own_cluster,
        permission=permission,
        recorded=notifier.recorded if notifier is not None else lambda _before, _after: None,
    )


async def _engine(
    setup: Setup, permission: WritePermission, mirror: Mirror, sources: Sources, metrics: Metrics
) -> Engine:
    if setup.config.engine == "kubernetes":
        from reconciler.daemon.leader import kubernetes_engine  # noqa: PLC0415 -- takes a second

        return await kubernetes_engine(setup, permission, metrics.asked)

    def export(context: BuildContext, destination: Path) -> None:
        if context.url or context.submodules:
            # Submodules are other repositories, also for a folder of this one: sources fetch them.
            url = context.url or setup.repository_url
            sources.export(replace(context, url=url), destination)
        else:
            mirror.export_tree(context.tree, destination)

    setup.check_signing()
    local = setup.config.local
    return LocalEngine(
        setup.root,
        slots=local.slots or os.cpu_count() or 1,
        export=export,
        secrets=setup.file(local.secrets),
        keep=setup.environments_keep,
        verify=setup.verified_buckets,
        signing=setup.signing,
        containers=None
        if local.runtime == "process"
        else Containers(program=local.runtime, network=local.network),
        isolation=IsolationRequest(
            mode=local.isolation, secrets=setup.secret_paths, buckets=tuple(local_buckets(setup))
        ),
    )


@asynccontextmanager
async def watching(url: str, wake: Wake) -> AsyncIterator[None]:
    """Wake the daemon at pushes to a local repository, during the block.

    A repository that is not on this disk is polled alone.
    """
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
        # The default filter would drop all events inside a .git folder.
        async for _ in awatch(folder / "refs" / "heads", watch_filter=None):
            wake.poll()
    except (OSError, RuntimeError) as error:
        log.warning("the repository cannot be watched; it is polled", error=str(error))
