"""What visitors of the status page are shown, put together from a configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from reconciler.config import Setup
from reconciler.engines.local.tail import LocalLogs
from reconciler.git.url import is_local, local_path
from reconciler.output import Logs, LogsElsewhere
from reconciler.page.board import Board
from reconciler.page.site import Site

if TYPE_CHECKING:
    from reconciler.daemon.daemon import Daemon


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
        return LogsElsewhere()
    buckets = [local_path(url) for url in setup.buckets.values() if is_local(url)]
    return LocalLogs([setup.root, *buckets])
