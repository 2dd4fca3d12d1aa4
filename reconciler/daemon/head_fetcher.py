"""The fetch of the repository and of other clusters' status."""

from __future__ import annotations

import asyncio

import structlog

from reconciler.backoff import Backoff
from reconciler.config import Setup
from reconciler.git import GitError, Mirror
from reconciler.metrics import Metrics
from reconciler.types import Commit
from reconciler.workspace import RemoteStatusReader, VerifiedHead, head_verification

log = structlog.get_logger(__name__)

FETCH_RETRY = Backoff(first=1.0, longest=60.0)


class HeadFetcher:
    """Fetches by one mirror, and notes in ``troubles`` what lasts."""

    def __init__(
        self,
        setup: Setup,
        mirror: Mirror,
        remote: RemoteStatusReader,
        metrics: Metrics,
        troubles: dict[str, str],
    ) -> None:
        self._mirror = mirror
        self._remote = remote
        self._metrics = metrics
        self._troubles = troubles
        self._verification = head_verification(setup, mirror)
        self._failures = 0

    def head(self, last: Commit | None) -> VerifiedHead:
        """Fetch the branch; return the commit in force.

        ``last`` is the one that was in force before. Raises GitError.
        """
        head = self._mirror.fetch()
        if self._verification is None:
            return VerifiedHead(head)
        try:
            found = self._verification.resolve(head, last)
        except GitError:
            self._metrics.head_refused.set(1)
            raise
        self._metrics.head_refused.set(found.refused is not None)
        if found.refused is None:
            self._troubles.pop("head", None)
        else:
            self._troubles["head"] = f"Not verified: {found.refused}."
        return found

    async def remote_clusters(self) -> bool:
        """Fetch other clusters' status; return whether any has changed.

        After a failure the last fetched one stays in use.
        """
        try:
            tips = await asyncio.to_thread(self._mirror.fetch_tips)
        except GitError as error:
            self._metrics.failed("clusters", error)
            log.warning("other clusters' status cannot be fetched", error=str(error))
            return False
        return self._remote.update(tips)

    def succeeded(self) -> None:
        """Note that the repository has been fetched and read."""
        self._failures = 0
        self._troubles.pop("fetch", None)
        self._metrics.last_fetch.set_to_current_time()

    def delay(self, error: GitError) -> float:
        """Note a failed fetch; return the seconds until the next try."""
        self._metrics.failed("fetch", error)
        self._failures += 1
        self._troubles["fetch"] = f"The repository cannot be fetched: {error}"
        delay = FETCH_RETRY.delay(self._failures)
        log.warning("the repository cannot be fetched", error=str(error), retry=round(delay, 1))
        return delay
