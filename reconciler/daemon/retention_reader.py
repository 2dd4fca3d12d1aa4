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
from reconciler.image_registry import ImageRegistry, RegistryError
from reconciler.planner import (
    HistoryEntry,
    Ledger,
    ObjectStatus,
    OwnCluster,
    Reference,
    Referrer,
    RetainedArtifact,
    Role,
    TaskPhase,
    image_name,
    unreadable,
)
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import TaskKey, TaskKind

#: Markers that are read at a time.
_CONCURRENCY = 16
#: Markers whose reads are queued at a time.
_BATCH = 1_000
#: Of an artifact that was never read.
_NOTHING = ArtifactFacts(state=ArtifactState.COMPLETE, size=0)
#: Collections after which a registry is asked again for images that it had.
_LOOKS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedArtifacts:
    """The artifacts of records, with the facts of their markers.

    ``facts`` are None for one that is certainly gone. ``doubts`` are of those that cannot be read,
    ``untouched`` of such images: an image refers to nothing. ``unread`` are artifacts that no Job
    lists now, with what one has said before.
    """

    artifacts: Mapping[TaskKey, RetainedArtifact]
    facts: Mapping[TaskKey, ArtifactFacts | None]
    doubts: tuple[Reason, ...]
    untouched: tuple[Reason, ...] = ()
    unread: Mapping[TaskKey, ArtifactFacts | None] = field(default_factory=dict)

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
            for key, facts in self._told().items()
            if key in ledger.completed and key in self.artifacts
        }

    def _told(self) -> dict[TaskKey, ArtifactFacts]:
        told = {key: facts for key, facts in self.facts.items() if facts is not None}
        return told | {key: facts or _NOTHING for key, facts in self.unread.items()}


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
                    images=_images(entry),
                    hidden=ledger.hidden.get(entry.key),
                    dated=bool(times),
                    is_image=entry.task is TaskKind.BUILD,
                    restored=entry.restored is not None and entry.restored == max(times),
                )
    return found


def restoring_references(
    records: Iterable[ObjectStatus], ledger: Ledger, facts: Mapping[TaskKey, ArtifactFacts | None]
) -> Iterator[Reference]:
    """Yield what artifacts that are being restored were made from, and in."""
    for entry in (entry for record in records for entry in record.history):
        if entry.key in ledger.restoring:
            said = facts.get(entry.key)
            inputs = said.inputs if said is not None else ()
            yield from ((key, Referrer(Role.INPUT, entry.key)) for key in inputs)
            yield from ((image, Referrer(Role.IMAGE, entry.key)) for image in _images(entry))


def _images(entry: HistoryEntry) -> tuple[TaskKey, ...]:
    """Return the key, or the digest, of an entry's image."""
    if entry.task is TaskKind.BUILD:
        return ()
    names = (image_name(image) for image in (entry.image_key, entry.image) if image is not None)
    return tuple(dict.fromkeys(names))


def _url(record: ObjectStatus, entry: HistoryEntry, ledger: Ledger, own: OwnCluster) -> str | None:
    """Return the URL of an entry's complete artifact in its own folder.

    Of a build it is the reference of the image.
    """
    known, built = ledger.result(entry.key), entry.task is TaskKind.BUILD
    url = entry.image if built else entry.artifact
    if entry.phase is not TaskPhase.SUCCEEDED or entry.gone or url is None or known is None:
        return None
    if url != (known.result.image if built else known.result.url) or known.task is not entry.task:
        return None
    if built:
        return url if own.is_pushed_image(url, record.ref.namespace) else None
    return url if own.is_artifact(url, record.ref.namespace, entry.key, entry.task) else None


@dataclass(slots=True)
class MarkerReader:
    """Reads markers, each once: what a marker lists does not change.

    Images are read of ``images``, again from time to time, as anyone may delete one; without it,
    their sizes are not known.
    """

    places: ArtifactPlaces
    images: ImageRegistry | None = None
    _known: dict[tuple[str, datetime], ArtifactFacts] = field(default_factory=dict)
    _reads: int = 0

    def read(self, artifacts: Mapping[TaskKey, RetainedArtifact]) -> RecordedArtifacts:
        """Read the facts of artifacts. Blocking."""
        closed: dict[str, Reason] = {}
        facts: dict[TaskKey, ArtifactFacts | None] = {}
        doubts: dict[Reason, None] = {}
        every = [artifact for artifact in artifacts.values() if not artifact.is_image]
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
        untouched = self._images([a for a in artifacts.values() if a.is_image], facts)
        self._known = dict(_complete(artifacts, facts))
        return RecordedArtifacts(
            artifacts=artifacts, facts=facts, doubts=tuple(doubts), untouched=untouched
        )

    def _images(
        self, artifacts: list[RetainedArtifact], facts: dict[TaskKey, ArtifactFacts | None]
    ) -> tuple[Reason, ...]:
        """Add the facts of images; return why some cannot be read."""
        self._reads += 1
        remembered = self._known if self._reads % _LOOKS else {}
        known = {a.key: remembered.get((a.url, a.made)) for a in artifacts if a.hidden is None}
        unknown = [artifact for artifact in artifacts if known.get(artifact.key) is None]
        facts.update((key, each) for key, each in known.items() if each is not None)
        if self.images is None:
            facts.update((a.key, _image_facts(0)) for a in unknown)
            return ()
        sizes = self.images.sizes(a.url for a in unknown) if unknown else {}
        untouched: dict[Reason, None] = {}
        for artifact in unknown:
            size = sizes[artifact.url]
            if isinstance(size, RegistryError):
                untouched[Reason.of(ReasonCode.IMAGES_KEPT, detail=str(size))] = None
            else:
                facts[artifact.key] = _image_facts(size) if size is not None else None
        return tuple(untouched)

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


def _image_facts(size: int) -> ArtifactFacts:
    return ArtifactFacts(state=ArtifactState.COMPLETE, size=size)


def _complete(
    artifacts: Mapping[TaskKey, RetainedArtifact], facts: Mapping[TaskKey, ArtifactFacts | None]
) -> Iterator[tuple[tuple[str, datetime], ArtifactFacts]]:
    for key, each in facts.items():
        if each is not None and each.state is ArtifactState.COMPLETE:
            yield (artifacts[key].url, artifacts[key].made), each
