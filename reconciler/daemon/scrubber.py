"""The scrub of current artifacts, beside the daemon's loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from reconciler.backoff import jittered
from reconciler.codec import whole_seconds
from reconciler.daemon.status_store import StatusStore
from reconciler.engine import Engine, Wanted
from reconciler.planner import Completed
from reconciler.types import TaskKey

#: Seconds between two looks for artifacts that are due, if the interval is no shorter.
_ROUND = 3600.0
#: Seconds after which times of verification are recorded while a round goes on: each round, and not
#: each artifact, makes a commit of the status.
_RECORD = 600.0


class Scrubber:
    """Verifies each current artifact once an interval, one after the other.

    What it finds waits for the next sync, which ``found`` asks for: :meth:`take_losses` and
    :meth:`take_verified`. After a restart it goes on by the times in the status.
    """

    def __init__(
        self,
        engine: Engine,
        store: StatusStore,
        *,
        interval: float | None,
        found: Callable[[], None],
    ) -> None:
        self._engine, self._store, self._found = engine, store, found
        self._interval = interval
        self._false: dict[TaskKey, Completed] = {}
        self._verified: dict[TaskKey, datetime] = {}

    async def run(self, synced: asyncio.Event) -> NoReturn:
        """Scrub after the first sync, and then from time to time."""
        await synced.wait()
        if self._interval is None:
            await asyncio.Event().wait()
        interval = self._interval or 0.0
        while True:
            await self._round(timedelta(seconds=interval))
            await asyncio.sleep(jittered(min(interval, _ROUND)))

    def take_losses(self) -> frozenset[TaskKey]:
        """Return the keys found false, unless they were made again since."""
        found, self._false = self._false, {}
        return frozenset(key for key, known in found.items() if self._is_still(known))

    def take_verified(self) -> dict[TaskKey, datetime]:
        """Return the times of the keys found true since the last call."""
        found, self._verified = self._verified, {}
        return found

    async def _round(self, interval: timedelta) -> None:
        began = time.monotonic()
        for artifact in self._due(interval):
            known = self._store.ledger.result(artifact.key)
            if known is None:
                continue
            valid = await self._engine.verify(artifact)
            if valid is None or not self._is_still(known):
                continue
            if not valid:
                self._false[artifact.key] = known
                self._found()
                continue
            self._verified[artifact.key] = whole_seconds(datetime.now(UTC))
            if time.monotonic() - began >= _RECORD:
                began = time.monotonic()
                self._found()
        if self._verified:
            self._found()

    def _due(self, interval: timedelta) -> list[Wanted]:
        """Return the artifacts to verify, those of the oldest time first.

        A time in the future was written before the clock was set back.
        """
        now, ledger = datetime.now(UTC), self._store.ledger
        found: dict[TaskKey, tuple[datetime, Wanted]] = {}
        for record in self._store.records.values():
            artifact = record.artifact
            complete = ledger.result(artifact.key) if artifact is not None else None
            if artifact is None or complete is None or complete.result.url is None:
                continue
            last = artifact.verified
            if last is None or abs(now - last) >= interval:
                wanted = Wanted(complete.task, artifact.key, complete.result.url)
                found[artifact.key] = (last or _NEVER, wanted)
        return [wanted for _, wanted in sorted(found.values(), key=lambda each: each[0])]

    def _is_still(self, known: Completed) -> bool:
        """Return whether a result was neither lost nor made again."""
        now = self._store.ledger.result(known.key)
        return now is not None and (now.turn, now.finished) == (known.turn, known.finished)


_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
