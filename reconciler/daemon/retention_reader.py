"""Artifacts of the daemon's records, with the facts of their markers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from urllib.parse import urlsplit

from reconciler.engines.local import (
    ArtifactFacts,
    ArtifactPlaceError,
    ArtifactPlaces,
    ArtifactState,
)
from reconciler.planner import (
    HistoryEntry,
    Ledger,
    ObjectStatus,
    OwnCluster,
    RetainedArtifact,
    TaskPhase,
    unreadable,
)
from reconciler.reasons import Reason
from reconciler.types import TaskKey

#: Markers that are read at a time.
_CONCURRENCY = 16
#: Markers whose reads are queued at a time.
_BATCH = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedArtifacts:
    """The artifacts of records, with the facts of their markers.

    ``facts`` are None for one that is certainly gone. ``doubts`` are of those that cannot be read.
    """

    artifacts: Mapping[TaskKey, RetainedArtifact]
    facts: Mapping[TaskKey, ArtifactFacts | None]
    doubts: tuple[Reason, ...]

    def retained(self, ledger: Ledger) -> dict[TaskKey, RetainedArtifact]:
        """Return the artifacts that are still complete, with their facts."""
        return {
            key: replace(
                self.artifacts[key],
                size=facts.size,
                inputs=facts.inputs,
                evaluated=facts.evaluated,
                hidden=ledger.hidden.get(key),
            )
            for key, facts in self.facts.items()
            if facts is not None and key in ledger.completed and key in self.artifacts
        }


def recorded_artifacts(
    records: Iterable[ObjectStatus], ledger: Ledger, own: OwnCluster, now: datetime
) -> dict[TaskKey, RetainedArtifact]:
    """Return the complete artifacts of records, at places of this cluster alone.

    In a shared bucket no other is named, and so none is touched. Sizes are not known yet.
    """
    found: dict[TaskKey, RetainedArtifact] = {}
    for record in records:
        for entry in record.history:
            url = _url(record, entry, ledger, own)
            if url is not None and entry.key not in found:
                times = [t for t in (entry.finished, entry.restored) if t is not None]
                found[entry.key] = RetainedArtifact(
                    key=entry.key,
                    ref=record.ref,
                    url=url,
                    made=max(times, default=now),
                    size=0,
                    hidden=ledger.hidden.get(entry.key),
                )
    return found


def _url(record: ObjectStatus, entry: HistoryEntry, ledger: Ledger, own: OwnCluster) -> str | None:
    """Return the URL of an entry's complete artifact in its own folder."""
    known, url = ledger.result(entry.key), entry.artifact
    if entry.phase is not TaskPhase.SUCCEEDED or entry.gone or url is None or known is None:
        return None
    if known.result.url != url or known.task is not entry.task:
        return None
    return url if own.is_artifact(url, record.ref.namespace, entry.key, entry.task) else None


@dataclass(slots=True)
class MarkerReader:
    """Reads markers, each once: what a marker lists does not change."""

    places: ArtifactPlaces
    _known: dict[tuple[str, datetime], ArtifactFacts] = field(default_factory=dict)

    def read(self, artifacts: Mapping[TaskKey, RetainedArtifact]) -> RecordedArtifacts:
        """Read the facts of artifacts. Blocking."""
        closed: dict[str, Reason] = {}
        facts: dict[TaskKey, ArtifactFacts | None] = {}
        doubts: dict[Reason, None] = {}
        every = list(artifacts.values())
        with ThreadPoolExecutor(_CONCURRENCY) as pool:
            for begin in range(0, len(every), _BATCH):
                batch = every[begin : begin + _BATCH]
                for artifact, each in zip(
                    batch, pool.map(lambda each: self._one(each, closed), batch), strict=True
                ):
                    if isinstance(each, Reason):
                        doubts[each] = None
                    else:
                        facts[artifact.key] = each
        self._known = dict(_complete(artifacts, facts))
        return RecordedArtifacts(artifacts=artifacts, facts=facts, doubts=tuple(doubts))

    def _one(
        self, artifact: RetainedArtifact, closed: dict[str, Reason]
    ) -> ArtifactFacts | Reason | None:
        """Return an artifact's facts, or the reason if it is unreadable."""
        known = self._known.get((artifact.url, artifact.made))
        if known is not None and artifact.hidden is None:
            return known
        split = urlsplit(artifact.url)
        bucket = f"{split.scheme}://{split.netloc}"
        if bucket in closed:
            return closed[bucket]
        try:
            return self.places.read(artifact.url, artifact.key)
        except ArtifactPlaceError as error:
            if not error.refused:
                return unreadable("artifact", artifact.key[:12], str(error))
            closed[bucket] = unreadable("bucket", "", str(error))  # it is not asked again
            return closed[bucket]


def _complete(
    artifacts: Mapping[TaskKey, RetainedArtifact], facts: Mapping[TaskKey, ArtifactFacts | None]
) -> Iterator[tuple[tuple[str, datetime], ArtifactFacts]]:
    for key, each in facts.items():
        if each is not None and each.state is ArtifactState.COMPLETE:
            yield (artifacts[key].url, artifacts[key].made), each
