"""The status page of a configuration, and the logs that it shows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from reconciler.config import Setup
from reconciler.engine import LogOf, Logs, NoTail, ProgressReader, Tail
from reconciler.engines.local import LocalLogs
from reconciler.git import GitError, is_local, local_path
from reconciler.review import seconds
from reconciler.status import SYNC_FILE, Sync, read_own_sync
from reconciler.web import PageCache, Site
from reconciler.workspace import CommitSubjects, git_folder, status_branch

if TYPE_CHECKING:
    from reconciler.daemon.controller import Daemon

log = structlog.get_logger(__name__)

#: Seconds for which the last sync of another replica is shown again.
SYNC_AGE = 60.0
#: Seconds for which the read log of a pod is shown again.
LOG_AGE = 10.0


def status_page(
    setup: Setup,
    cache: PageCache,
    current: Callable[[], Daemon | None],
    progress: ProgressReader,
) -> Site | None:
    """The page of the current daemon; None if the configuration disables it."""
    server = setup.config.server
    if not server.page:
        return None

    recorded = LastSync(setup)

    async def standby() -> Sequence[str]:
        if setup.config.engine == "local" or current() is not None:
            return ("The first sync has not ended yet.",)
        lease = f"reconciler-{setup.config.kubernetes.instance}"
        leader = f"This replica stands by. `kubectl get lease {lease}` names the one that leads."
        return leader, await recorded.told()

    def troubles() -> Sequence[str]:
        daemon = current()
        return tuple(daemon.troubles.values()) if daemon is not None else ()

    def proxy_secret() -> bytes:
        if server.proxy_secret_file is None:
            return b""
        try:
            return setup.file(server.proxy_secret_file).read_bytes().strip()
        except OSError as error:
            log.warning("the proxy's secret cannot be read", error=str(error))
            return b""

    return Site(
        cluster=setup.config.cluster,
        cache=cache,
        logs=_logs(setup),
        progress=progress,
        standby=standby,
        troubles=troubles,
        subjects=CommitSubjects.from_setup(setup).of,
        hosts=frozenset(server.hosts),
        proxy_secret=proxy_secret,
    )


class LastSync:
    """The leader's last sync, read at most once a minute.

    It has a copy of its own: the daemon uses the other once this replica leads.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._reading: tuple[float, asyncio.Task[Sync | None]] | None = None

    async def told(self) -> str:
        """Return the age of the last sync as a sentence."""
        now = time.monotonic()
        if self._reading is None or self._reading[0] <= now:
            reading = asyncio.create_task(asyncio.to_thread(self._read))
            self._reading = (now + SYNC_AGE, reading)
        try:
            sync = await asyncio.shield(self._reading[1])
        except GitError as error:
            return f"The time of the last sync is not known: {error}."
        if sync is None:
            return "Nothing has been synced yet: there is no status branch."
        age = seconds((datetime.now(UTC) - sync.observed).total_seconds())
        return (
            f"The last sync that is recorded was at {sync.observed:%Y-%m-%d %H:%M} UTC, {age} ago, "
            f"of commit {sync.head[:10]}; a leader records one at least once an hour."
        )

    def _read(self) -> Sync | None:
        branch = status_branch(self._setup, git_folder(self._setup) / "standby")
        branch.fetch()
        sync, _ = read_own_sync(branch.reading(lambda: branch.read(SYNC_FILE)))
        return sync


def _logs(setup: Setup) -> Logs:
    if setup.config.engine != "local":
        from reconciler.daemon.leader import pod_logs  # noqa: PLC0415 -- takes 0.3 seconds

        return _CachedLogs(pod_logs(setup))
    return LocalLogs([setup.root, *local_buckets(setup)])


def local_buckets(setup: Setup) -> list[Path]:
    """Return the folders of artifacts that are on this disk."""
    return [local_path(url) for url in setup.buckets.values() if is_local(url)]


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
