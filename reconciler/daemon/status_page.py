"""The status page of a configuration, and the logs that it shows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from reconciler.config import Setup
from reconciler.engine import LogOf, Logs, NoTail, Tail
from reconciler.engines.local import LocalLogs
from reconciler.git import is_local, local_path
from reconciler.web import PageCache, Site

if TYPE_CHECKING:
    from reconciler.daemon.controller import Daemon

#: Seconds for which the read log of a pod is shown again.
LOG_AGE = 10.0


def status_page(
    setup: Setup, cache: PageCache, current: Callable[[], Daemon | None]
) -> Site | None:
    """The page of the current daemon; None if the configuration disables it."""
    server = setup.config.server
    if not server.page:
        return None

    def standby() -> str:
        if current() is None:
            lease = f"reconciler-{setup.config.kubernetes.instance}"
            return f"This replica stands by. `kubectl get lease {lease}` names the one that leads."
        return "The first sync has not ended yet."

    def troubles() -> Sequence[str]:
        daemon = current()
        return tuple(daemon.troubles.values()) if daemon is not None else ()

    return Site(
        cluster=setup.config.cluster,
        cache=cache,
        logs=_logs(setup),
        standby=standby,
        troubles=troubles,
        hosts=frozenset(server.hosts),
    )


def _logs(setup: Setup) -> Logs:
    if setup.config.engine != "local":
        from reconciler.daemon.leader import pod_logs  # noqa: PLC0415 -- takes 0.3 seconds

        return _CachedLogs(pod_logs(setup))
    buckets = [local_path(url) for url in setup.buckets.values() if is_local(url)]
    return LocalLogs([setup.root, *buckets])


class _CachedLogs:
    """Logs of a cluster, cached for all open pages.

    Each is read at most every ``LOG_AGE`` seconds.
    """

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        self._cached: dict[LogOf, tuple[float, asyncio.Task[Tail | NoTail]]] = {}

    async def tail(self, log: LogOf, longest: int) -> Tail | NoTail:
        now = time.monotonic()
        self._cached = {of: entry for of, entry in self._cached.items() if entry[0] > now}
        if log not in self._cached:
            reading = asyncio.ensure_future(self._logs.tail(log, longest))
            self._cached[log] = (now + LOG_AGE, reading)
        # One request that is cancelled does not cancel the read for the others.
        return await asyncio.shield(self._cached[log][1])
