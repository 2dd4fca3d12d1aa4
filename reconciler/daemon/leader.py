"""A daemon in front of a cluster: one of several replicas, of which a Lease elects one."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import structlog

from reconciler.config import Setup
from reconciler.daemon.authority import Authority
from reconciler.daemon.shutdown import carry_out
from reconciler.engines.kubernetes import (
    Api,
    Asked,
    ClusterSettings,
    KubernetesEngine,
    Leadership,
    PodLogs,
    render,
    render_inventory,
)

log = structlog.get_logger(__name__)


async def kubernetes_engine(setup: Setup, authority: Authority, asked: Asked) -> KubernetesEngine:
    """The engine, not started. Raises EngineError where no cluster can be found."""
    config = setup.config.kubernetes
    settings = ClusterSettings.from_setup(setup)
    return KubernetesEngine(
        await Api.connect(context=config.context, asked=asked),
        instance=config.instance,
        render=lambda spec: render(spec, settings),
        namespaces=tuple(config.namespaces),
        may_write=authority.leads,
        inventory=lambda folder: render_inventory(folder, settings),
    )


def pod_logs(setup: Setup) -> PodLogs:
    """The logs of runs in the cluster that the configuration names."""
    context = setup.config.kubernetes.context
    return PodLogs(lambda: Api.connect(context=context))


async def while_leading(
    setup: Setup,
    stop: asyncio.Event,
    work: Callable[[Authority, asyncio.Event], Awaitable[bool]],
    asked: Asked,
) -> None:
    """Lead, work, and begin again whenever the lease is lost, until ``stop`` is set.

    ``work`` ends soon after the event it is given is set, and says whether it is done for good.
    """
    async with _candidate(setup, asked) as leadership:
        while not stop.is_set():
            if not await carry_out(leadership.acquire(), until=stop):
                return
            end = asyncio.Event()
            keeping = asyncio.create_task(_then(leadership.keep(), end))
            stopping = asyncio.create_task(_then(stop.wait(), end))
            try:
                if await work(Authority(lambda: leadership.leads, leadership.epoch), end):
                    return
            finally:
                keeping.cancel()
                stopping.cancel()
                await asyncio.gather(keeping, stopping, return_exceptions=True)


@asynccontextmanager
async def _candidate(setup: Setup, asked: Asked) -> AsyncIterator[Leadership]:
    config = setup.config.kubernetes
    api = await Api.connect(context=config.context, asked=asked)
    name = os.environ.get("POD_NAME") or os.uname().nodename
    leadership = Leadership(
        api,
        namespace=os.environ.get("POD_NAMESPACE") or config.namespace,
        name=f"reconciler-{config.instance}",
        # A process that starts again under its pod's name is another candidate.
        holder=f"{name}-{secrets.token_hex(4)}",
        owner=_owner(setup),
        duration=config.lease,
    )
    try:
        yield leadership
    finally:
        await leadership.release()
        await api.close()


def _owner(setup: Setup) -> str:
    """What this daemon's replicas sync, as a person and a Lease read it."""
    url = urlsplit(setup.repository_url)
    shown = urlunsplit(url._replace(netloc=url.netloc.rpartition("@")[2]))
    return f"cluster {setup.config.cluster} of {shown}"


async def _then(what: Awaitable[object], event: asyncio.Event) -> None:
    await what
    event.set()
