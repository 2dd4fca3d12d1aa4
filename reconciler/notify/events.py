"""Events of the status branch, gathered in a digest.

Only recorded changes count. So a daemon that starts on a branch, after a restart or as a new
leader, has no event until something differs from what is recorded there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from reconciler.planner import URGENCY, ObjectStatus, Phase
from reconciler.types import ObjectRef, TaskKey

#: The phases of which an object has another event when it is in them for another key.
_OF_A_KEY = frozenset({Phase.READY, Phase.FAILED, Phase.REJECTED})
#: Characters of a message, which may quote the output of a command.
LONGEST_MESSAGE = 500
#: How many events are kept until they are sent; further ones are only counted.
MOST_KEPT = 1000
#: How many a digest lists, the most urgent first.
MOST_LISTED = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An object that came into a phase, or a hold.

    ``before`` is the former phase, None for a new object. ``key`` is that of the artifact which the
    manifest asks for, or of the one that a Ready object has, ``key_before`` that of the last event,
    and ``artifact`` the artifact URL, once it is there. A hold is one event, of the first of its
    objects; ``objects`` counts them, ``hold`` is the id that releases it.
    """

    ref: ObjectRef
    phase: Phase
    before: Phase | None = None
    key: TaskKey | None = None
    key_before: TaskKey | None = None
    artifact: str | None = None
    reason: str = ""
    message: str = ""
    hold: str | None = None
    path: str = ""
    commit: str = ""
    objects: int = 1

    @property
    def about(self) -> tuple[ObjectRef | None, str]:
        """Return the identity of the object or hold of an event."""
        return (None, self.hold or "") if self.phase is Phase.HELD else (self.ref, "")


def news(
    before: Mapping[ObjectRef, ObjectStatus],
    after: Mapping[ObjectRef, ObjectStatus],
    phases: Collection[Phase],
) -> Iterator[Event]:
    """Yield objects that came into a phase, and new holds."""
    held: dict[str | None, list[ObjectRef]] = {}
    for ref, record in sorted(after.items()):
        known = before.get(ref)
        if known is record or record.phase not in phases:
            continue
        if record.phase is Phase.HELD:
            if known is None or known.phase is not Phase.HELD or known.hold != record.hold:
                held.setdefault(record.hold, []).append(ref)
        elif (
            known is None
            or known.phase is not record.phase
            or (record.phase in _OF_A_KEY and _key(known) != _key(record))
        ):
            yield _event(record, known)
    for refs in held.values():
        yield _event(after[refs[0]], before.get(refs[0]), objects=len(refs))


def _key(record: ObjectStatus) -> TaskKey | None:
    """Return the key of a phase.

    A Ready promotion may serve an earlier one.
    """
    ready = record.phase is Phase.READY and record.artifact is not None
    return record.artifact.key if ready and record.artifact else record.desired


def _event(record: ObjectStatus, known: ObjectStatus | None, *, objects: int = 1) -> Event:
    manifest, text, ready = record.manifest, record.message, record.phase is Phase.READY
    return Event(
        ref=record.ref,
        phase=record.phase,
        before=known.phase if known is not None else None,
        key=_key(record),
        key_before=_key(known) if known is not None else None,
        artifact=record.artifact.url if ready and record.artifact is not None else None,
        reason=record.reason,
        message=text if len(text) <= LONGEST_MESSAGE else f"{text[: LONGEST_MESSAGE - 1]}…",
        hold=record.hold,
        path=manifest.path if manifest is not None else "",
        commit=manifest.commit if manifest is not None else "",
        objects=objects,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """The content of a delivery.

    ``counts`` is of all objects by phase, and ``more`` counts those not listed.
    """

    events: tuple[Event, ...]
    counts: dict[Phase, int]
    more: int


@dataclass(slots=True)
class Waiting:
    """Unsent events: the newest of each object or hold.

    An object that is back in the state of the last delivery has no event.
    """

    _kept: dict[tuple[ObjectRef | None, str], Event] = field(default_factory=dict)
    _uncounted: Counter[Phase] = field(default_factory=Counter)

    def __bool__(self) -> bool:
        return bool(self._kept or self._uncounted)

    def add(self, events: Iterable[Event]) -> None:
        """Add events, each replacing an older one of its subject."""
        for event in events:
            known = self._kept.pop(event.about, None)
            if known is None and len(self._kept) >= MOST_KEPT:
                self._uncounted[event.phase] += event.objects
            elif known is None or event.phase is Phase.HELD:
                self._kept[event.about] = event
            elif (known.before, known.key_before) != (event.phase, event.key):
                self._kept[event.about] = replace(
                    event, before=known.before, key_before=known.key_before
                )

    def take(self) -> Digest:
        """Remove all events and return them as a digest."""
        events = sorted(self._kept.values(), key=lambda e: (URGENCY.index(e.phase), e.ref))
        counts = Counter(self._uncounted)
        for event in events:
            counts[event.phase] += event.objects
        more = len(events[MOST_LISTED:]) + sum(self._uncounted.values())
        self._kept.clear()
        self._uncounted.clear()
        return Digest(events=tuple(events[:MOST_LISTED]), counts=dict(counts), more=more)
