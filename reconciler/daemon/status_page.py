"""What visitors of the status page are shown, put together from a configuration."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from reconciler.config import Setup
from reconciler.engines.local import LocalLogs
from reconciler.git.url import is_local, local_path
from reconciler.log_tail import LogOf, Logs, NoTail, Tail
from reconciler.web.site import Site
from reconciler.web.snapshot import Board

if TYPE_CHECKING:
    from reconciler.daemon.controller import Daemon

#: Seconds for which the log of a pod is shown as it was.
LOG_AGE = 10.0


def status_page(setup: Setup, board: Board, current: Callable[[], Daemon | None]) -> Site | None:
    """The page of whatever daemon is current; None where the configuration wants none."""
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
        board=board,
        logs=_logs(setup),
        standby=standby,
        troubles=troubles,
        hosts=frozenset(server.hosts),
    )


def _logs(setup: Setup) -> Logs:
    if setup.config.engine != "local":
        from reconciler.daemon.leader import pod_logs  # noqa: PLC0415 -- takes 0.3 seconds

        return _Recent(pod_logs(setup))
    buckets = [local_path(url) for url in setup.buckets.values() if is_local(url)]
    return LocalLogs([setup.root, *buckets])


class _Recent:
    """Logs of a cluster, each read once in a while for all pages that are open on it."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        self._known: dict[LogOf, tuple[float, asyncio.Task[Tail | NoTail]]] = {}

    async def tail(self, log: LogOf, longest: int) -> Tail | NoTail:
        now = time.monotonic()
        self._known = {of: known for of, known in self._known.items() if known[0] > now}
        if log not in self._known:
            asked = asyncio.ensure_future(self._logs.tail(log, longest))
            self._known[log] = (now + LOG_AGE, asked)
        # A visitor who leaves takes nothing from the others.
        return await asyncio.shield(self._known[log][1])
