"""The index of objects by phase."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from reconciler.planner.object_status import ObjectStatus
from reconciler.planner.phases import URGENCY, Phase
from reconciler.types import Kind, ObjectRef


class Phases:
    """Objects by phase, those of one phase in their own order."""

    def __init__(self, records: Iterable[ObjectStatus] = ()) -> None:
        self._of: dict[ObjectRef, Phase] = {record.ref: record.phase for record in records}
        self._refs: dict[Phase, list[ObjectRef]] = {phase: [] for phase in URGENCY}
        for ref, phase in self._of.items():
            self._refs[phase].append(ref)
        for refs in self._refs.values():
            refs.sort()
        self._counts = Counter((ref.kind, phase) for ref, phase in self._of.items())

    def __len__(self) -> int:
        return len(self._of)

    def put(self, ref: ObjectRef, phase: Phase | None) -> None:
        """Set an object's phase; None removes the object."""
        before = self._of.get(ref)
        if before is phase:
            return
        if before is not None:
            refs = self._refs[before]
            del refs[bisect_left(refs, ref)], self._of[ref]
            self._counts[ref.kind, before] -= 1
        if phase is not None:
            insort(self._refs[phase], ref)
            self._of[ref] = phase
            self._counts[ref.kind, phase] += 1

    def of(self, phase: Phase) -> int:
        """Count the objects in a phase."""
        return len(self._refs[phase])

    def counts(self) -> Mapping[tuple[Kind, Phase], int]:
        """Count the objects by kind and phase; missing entries are 0."""
        return Counter(self._counts)

    def first(self, most: int) -> Iterator[ObjectRef]:
        """Yield at most ``most`` objects, those that need attention first."""
        for refs in self._refs.values():
            shown = refs[:most]
            most -= len(shown)
            yield from shown
