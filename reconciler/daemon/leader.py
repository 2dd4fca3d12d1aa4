"""Leader election among the replicas of a cluster's daemon."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import structlog

from reconciler.config import SHORTEST_KEY, ConfigError, Setup
from reconciler.daemon.once import StillWaitingError
from reconciler.daemon.shutdown import WritePermission, run_until
from reconciler.engine import (
    ArtifactOrder,
    Engine,
    EngineError,
    OrderKind,
    OrderResult,
    Progress,
    Wanted,
)
from reconciler.engines.kubernetes import (
    Api,
    ArtifactJobs,
    Asked,
    ClusterRuns,
    ClusterSettings,
    FollowedPodLogs,
    KubernetesEngine,
    Leadership,
    PodLogs,
    ReportedProgress,
    leader_note,
    read_note,
    render,
    render_collection,
    render_inventory,
    render_listing,
)
from reconciler.types import Location, Problem

log = structlog.get_logger(__name__)

#: The namespace in the URL of a Service.
_SERVICE = re.compile(r"https?://[a-z0-9-]+\.([a-z0-9-]+)\.svc[.:/]", re.ASCII)


async def kubernetes_engine(
    setup: Setup, permission: WritePermission, asked: Asked
) -> KubernetesEngine:
    """The engine, not started. Raises EngineError if no cluster is found."""
    config = setup.config.kubernetes
    settings = ClusterSettings.from_setup(setup)
    if settings.reports is not None and settings.reports.key is None:
        file = setup.config.server.progress.key_file if setup.config.server.progress else ""
        message = f"{file} cannot be read, or has less than {SHORTEST_KEY} bytes"
        raise ConfigError([Problem(Location("configuration"), "server.progress.keyFile", message)])
    return KubernetesEngine(
        await Api.connect(context=config.context, asked=asked),
        instance=config.instance,
        render=lambda spec: render(spec, settings),
        namespaces=tuple(config.namespaces),
        may_write=permission.leads,
        inventory=lambda folder: render_inventory(folder, settings),
        listing=lambda source: render_listing(source, settings),
    )


def bucket_jobs(setup: Setup, engine: Engine) -> ArtifactJobs:
    """The Jobs that collect in buckets which pods alone can reach."""
    assert isinstance(engine, KubernetesEngine)
    settings = ClusterSettings.from_setup(setup)
    return engine.artifact_jobs(
        lambda folder, orders, expires: render_collection(folder, orders, settings, expires=expires)
    )


async def restore_by_job(setup: Setup, artifact: Wanted) -> OrderResult | EngineError:
    """Restore an artifact in a bucket that pods alone can reach.

    Raises EngineError if no cluster is found.
    """
    config, settings = setup.config.kubernetes, ClusterSettings.from_setup(setup)
    engine = KubernetesEngine(
        await Api.connect(context=config.context),
        instance=config.instance,
        render=lambda spec: render(spec, settings),
        namespaces=tuple(config.namespaces),
    )
    try:
        order = ArtifactOrder(OrderKind.RESTORE, artifact)
        return (await bucket_jobs(setup, engine).carry_out([order]))[artifact.key]
    finally:
        await engine.stop()


def pod_logs(setup: Setup) -> PodLogs:
    """The logs of runs in the cluster that the configuration names."""
    context = setup.config.kubernetes.context
    return PodLogs(lambda: Api.connect(context=context))


def cluster_runs(setup: Setup) -> ClusterRuns:
    """The runs there that a user may end."""
    config = setup.config.kubernetes
    return ClusterRuns(lambda: Api.connect(context=config.context), config.instance)


def reported_progress(attempt: Callable[[str], int | None]) -> ReportedProgress:
    """The progress that pods report; ``attempt`` is that of a live run."""
    return ReportedProgress(attempt)


async def noted_progress(setup: Setup) -> dict[str, Progress]:
    """Return the progress of runs that the leader's Lease has.

    The daemon's namespace is its pod's, which the URL of its Service has. Raises EngineError.
    """
    config = setup.config.kubernetes
    section = setup.config.server.progress
    service = _SERVICE.match(section.url) if section is not None else None
    named = (setup.pod_namespace, service[1] if service is not None else None, config.namespace)
    api = await Api.connect(context=config.context)
    try:
        for namespace in dict.fromkeys(filter(None, named)):
            note = await leader_note(api, namespace, _lease_name(setup))
            if note is not None:
                return read_note(note)
        return {}
    finally:
        await api.close()


def followed_pod_logs(setup: Setup, lines: int) -> FollowedPodLogs:
    """The growing logs of runs there, from their last lines on.

    0 ``lines`` are all.
    """
    context = setup.config.kubernetes.context
    return FollowedPodLogs(lambda: Api.connect(context=context), lines)


async def while_leading(
    setup: Setup,
    stop: asyncio.Event,
    work: Callable[[WritePermission, asyncio.Event], Awaitable[bool]],
    asked: Asked,
    *,
    note: Callable[[], str] = str,
    patience: float | None = None,
) -> None:
    """Work while leading, and campaign again after each lost lease, until ``stop``.

    ``work`` ends soon after its event is set, and returns whether it is finished for good.
    ``note`` returns what the Lease says meanwhile. ``patience`` is for how many seconds a campaign
    may last. Raises StillWaitingError.
    """
    async with _candidate(setup, asked, note) as leadership:
        while not stop.is_set():
            if not await run_until(stop, _campaign(leadership, patience)):
                return
            end = asyncio.Event()
            keeping = asyncio.create_task(_set_after(leadership.keep(), end))
            stopping = asyncio.create_task(_set_after(stop.wait(), end))
            try:
                if await work(WritePermission(lambda: leadership.leads, leadership.epoch), end):
                    return
            finally:
                keeping.cancel()
                stopping.cancel()
                await asyncio.gather(keeping, stopping, return_exceptions=True)


async def _campaign(leadership: Leadership, patience: float | None) -> None:
    try:
        async with asyncio.timeout(patience):
            await leadership.acquire()
    except TimeoutError as error:
        leader = leadership.leader
        raise StillWaitingError(
            f"another daemon leads, {leader}" if leader else "the Lease cannot be reached"
        ) from error


@asynccontextmanager
async def _candidate(
    setup: Setup, asked: Asked, note: Callable[[], str]
) -> AsyncIterator[Leadership]:
    config = setup.config.kubernetes
    api = await Api.connect(context=config.context, asked=asked)
    name = os.environ.get("POD_NAME") or os.uname().nodename
    leadership = Leadership(
        api,
        namespace=setup.pod_namespace or config.namespace,
        name=_lease_name(setup),
        # A process that starts again under its pod's name is another candidate.
        holder=f"{name}-{secrets.token_hex(4)}",
        owner=_owner(setup),
        duration=config.lease,
        note=note,
    )
    try:
        yield leadership
    finally:
        await leadership.release()
        await api.close()


def _lease_name(setup: Setup) -> str:
    return f"reconciler-{setup.config.kubernetes.instance}"


def _owner(setup: Setup) -> str:
    """A description of the sync that replicas share, for the Lease."""
    url = urlsplit(setup.repository_url)
    shown = urlunsplit(url._replace(netloc=url.netloc.rpartition("@")[2]))
    return f"cluster {setup.config.cluster} of {shown}"


async def _set_after(work: Awaitable[object], event: asyncio.Event) -> None:
    await work
    event.set()
