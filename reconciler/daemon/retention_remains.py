"""Remains of failed attempts and of local tries in buckets.

No artifact of the records is there. So nothing is hidden first: once they are old enough, and
nothing refers to their key, they are removed. A folder with a marker is none of a failed attempt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler.engine import CollectedKind
from reconciler.engines.local import (
    ArtifactPlaceError,
    ArtifactPlaces,
    ArtifactState,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RemainsReader:
    """Finds the remains that may be removed by a policy. Blocking."""

    places: ArtifactPlaces
    policy: RetentionPolicy
    own: OwnCluster

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
        found: list[Remains] = []
        closed: set[str] = set()  # buckets that have refused, and are not asked again
        for each in due:
            bucket = innermost(each.url, self.own.buckets) or ""
            if each.key in roots or len(found) == _MOST or bucket in closed:
                continue
            try:
                size = self.places.rest(each.url, each.key, tried=each.what is CollectedKind.TRY)
            except ArtifactPlaceError as error:
                if error.refused:
                    closed.add(bucket)
                continue
            found += [each.of_size(size)] if size is not None else []
        return found

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
        """Yield the artifacts of tries, but for each object's newest."""
        age = timedelta(days=self.policy.days) + self.policy.grace
        for record in records:
            known = {entry.key for entry in record.history}
            known |= {key for task in record.tasks for key in (task.key, task.run_key) if key}
            for evaluates in (False, True):
                tries = [
                    Remains(
                        key=found.key,
                        ref=record.ref,
                        url=f"{found.path.as_uri()}/",
                        since=found.finished,
                        what=CollectedKind.TRY,
                    )
                    for place in self._places(record.ref, TaskKey("x"), evaluates=evaluates)
                    if (path := path_of(place)) is not None
                    for found in find_tries(path.parent, known, markers=tuple(ArtifactState))
                ]
                tries.sort(key=lambda each: (each.since, each.key), reverse=True)
                yield from (t for t in tries[self.policy.keep :] if now - t.since >= age)

    def _places(self, ref: ObjectRef, key: TaskKey, *, evaluates: bool) -> list[str]:
        """Return the URLs of a key in the configured buckets."""
        cluster, buckets = self.own.cluster, self.own.buckets
        if evaluates:
            return [evaluation_url(bucket=b, cluster=cluster, ref=ref, key=key) for b in buckets]
        return [artifact_url(bucket=b, cluster=cluster, ref=ref, key=key) for b in buckets]
