"""News that waits to be sent: one digest at a time, however much there is of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from reconciler.notify.events import Event
from reconciler.planner import URGENCY, Phase
from reconciler.types import ObjectRef

#: How many events are kept until they are sent; of more than that only the number is.
MOST_KEPT = 1000
#: How many a digest lists, the most urgent first.
MOST_LISTED = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """What one delivery tells; ``counts`` is of all objects and ``more`` of those not listed."""

    events: tuple[Event, ...]
    counts: dict[Phase, int]
    more: int


@dataclass(slots=True)
class Waiting:
    """What is not sent yet. Of one object, or one hold, only the newest is told.

    An object that is back where it was when it was last told of is not told of at all.
    """

    _kept: dict[tuple[ObjectRef | None, str], Event] = field(default_factory=dict)
    _uncounted: Counter[Phase] = field(default_factory=Counter)

    def __bool__(self) -> bool:
        return bool(self._kept or self._uncounted)

    def add(self, events: Iterable[Event]) -> None:
        """Take in what is new."""
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
        """All that waits, which then waits no more."""
        events = sorted(self._kept.values(), key=lambda e: (URGENCY.index(e.phase), e.ref))
        counts = Counter(self._uncounted)
        for event in events:
            counts[event.phase] += event.objects
        more = len(events[MOST_LISTED:]) + sum(self._uncounted.values())
        self._kept.clear()
        self._uncounted.clear()
        return Digest(events=tuple(events[:MOST_LISTED]), counts=dict(counts), more=more)
