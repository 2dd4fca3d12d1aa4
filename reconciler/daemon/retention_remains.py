"""Remains of failed attempts and of local tries in buckets.

No artifact of the records is there. So nothing is hidden first: once they are old enough, and
nothing refers to their key, they are removed. A folder with a marker is none of a failed attempt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from reconciler.engine import CollectedKind
from reconciler.engines.local import (
    ArtifactPlaceError,
    ArtifactPlaces,
    ArtifactState,
    find_failed_tries,
    find_tries,
    path_of,
)
from reconciler.planner import (
    Ledger,
    ObjectStatus,
    OwnCluster,
    Remains,
    RetentionPolicy,
    Roots,
    TaskPhase,
    artifact_url,
    evaluation_url,
)
from reconciler.types import ObjectRef, TaskKey, TaskKind
from reconciler.urls import innermost

#: Folders that one collection removes, the oldest first.
_MOST = 500
#: Folders that are read at a time, and those whose reads are queued at a time.
_CONCURRENCY, _BATCH = 16, 64


@dataclass(slots=True, kw_only=True)
class RemainsReader:
    """Finds the remains that may be removed by a policy. Blocking.

    Most failed attempts leave nothing. A folder is asked for once after the last of them, then no
    more if nothing was there.
    """

    places: ArtifactPlaces
    policy: RetentionPolicy
    own: OwnCluster
    _absent: set[Remains] = field(default_factory=set)

    def read(
        self, records: Sequence[ObjectStatus], ledger: Ledger, roots: Roots, now: datetime
    ) -> list[Remains]:
        """Return what is due, and there.

        What cannot be read is left out.
        """
        due = [*self._attempts(records, ledger, now)]
        if self.places.layout is not None:
            due += self._tries(records, now)
        due.sort(key=lambda each: (each.since, each.key))
        self._absent &= set(due)
        asked = [each for each in due if each.key not in roots and each not in self._absent]
        found: list[Remains] = []
        closed: set[str] = set()  # buckets that have refused, and are not asked again
        with ThreadPoolExecutor(_CONCURRENCY) as pool:
            for begin in range(0, len(asked), _BATCH):
                batch = asked[begin : begin + _BATCH]
                found += filter(None, pool.map(lambda each: self._size(each, closed), batch))
                if len(found) >= _MOST:
                    break
        return found[:_MOST]

    def _size(self, remains: Remains, closed: set[str]) -> Remains | None:
        """Return remains with their size; None if absent or unreadable."""
        bucket = innermost(remains.url, self.own.buckets) or ""
        if bucket in closed:
            return None
        tried = remains.what is CollectedKind.TRY
        try:
            size = self.places.rest(remains.url, remains.key, tried=tried)
        except ArtifactPlaceError as error:
            if error.refused:
                closed.add(bucket)
            return None
        if size is None:
            self._absent.add(remains)
            return None
        return replace(remains, size=size)

    def _attempts(
        self, records: Iterable[ObjectStatus], ledger: Ledger, now: datetime
    ) -> Iterator[Remains]:
        """Yield the folders of keys whose last attempt failed long ago."""
        for record in records:
            ends: dict[tuple[TaskKey, TaskKind], datetime] = {}
            for entry in record.history:
                made = entry.phase is TaskPhase.SUCCEEDED and not entry.gone
                name = entry.key, entry.task
                if made or entry.collected is not None or entry.key in ledger.completed:
                    ends.pop(name, None)
                elif entry.task is not TaskKind.BUILD and entry.phase is not TaskPhase.SUCCEEDED:
                    ends[name] = max(entry.finished or now, ends.get(name, entry.finished or now))
            for (key, task), end in ends.items():
                if now - end < timedelta(days=self.policy.failed):
                    continue
                for place in self._places(record.ref, key, evaluates=task is TaskKind.EVALUATE):
                    yield Remains(
                        key=key, ref=record.ref, url=place, since=end, what=CollectedKind.ATTEMPT
                    )

    def _tries(self, records: Iterable[ObjectStatus], now: datetime) -> Iterator[Remains]:
        """Yield the artifacts of tries, but for each object's newest.

        What failed ones have left is that of failed attempts.
        """
        age = timedelta(days=self.policy.days) + self.policy.grace
        for record in records:
            known = {entry.key for entry in record.history}
            known |= {key for task in record.tasks for key in (task.key, task.run_key) if key}
            for evaluates in (False, True):
                yield from self._failed_tries(record.ref, known, now, evaluates=evaluates)
                tries = [
                    Remains(
                        key=found.key,
                        ref=record.ref,
                        url=f"{found.path.as_uri()}/",
                        since=found.finished,
                        what=CollectedKind.TRY,
                    )
                    for folder in self._folders(record.ref, evaluates=evaluates)
                    for found in find_tries(folder, known, markers=tuple(ArtifactState))
                ]
                tries.sort(key=lambda each: (each.since, each.key), reverse=True)
                yield from (t for t in tries[self.policy.keep :] if now - t.since >= age)

    def _failed_tries(
        self, ref: ObjectRef, known: set[TaskKey], now: datetime, *, evaluates: bool
    ) -> Iterator[Remains]:
        for folder in self._folders(ref, evaluates=evaluates):
            for found in find_failed_tries(folder, known):
                if now - found.ended >= timedelta(days=self.policy.failed):
                    yield Remains(
                        key=found.key,
                        ref=ref,
                        url=f"{found.path.as_uri()}/",
                        since=found.ended,
                        what=CollectedKind.ATTEMPT,
                    )

    def _folders(self, ref: ObjectRef, *, evaluates: bool) -> Iterator[Path]:
        """Yield an object's folders of keys on this machine's disk."""
        for place in self._places(ref, TaskKey("x"), evaluates=evaluates):
            if (path := path_of(place)) is not None:
                yield path.parent

    def _places(self, ref: ObjectRef, key: TaskKey, *, evaluates: bool) -> list[str]:
        """Return the URLs of a key in the configured buckets."""
        cluster, buckets = self.own.cluster, self.own.buckets
        if evaluates:
            return [evaluation_url(bucket=b, cluster=cluster, ref=ref, key=key) for b in buckets]
        return [artifact_url(bucket=b, cluster=cluster, ref=ref, key=key) for b in buckets]
