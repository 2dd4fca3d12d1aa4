"""Progress of ``run --once`` on a pipe, a line for each phase."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from reconciler.planner import ObjectStatus, Phase
from reconciler.review import counted, printable, seconds
from reconciler.types import ObjectRef

#: Phases whose message says more than the phase.
_TOLD = (Phase.FAILED, Phase.INVALID, Phase.HELD, Phase.LOST, Phase.WAITING)


@dataclass(slots=True)
class PhaseLines:
    """The phases that were printed, and the time since the beginning."""

    clock: Callable[[], float] = time.monotonic
    _began: float | None = None
    _phases: dict[ObjectRef, Phase] | None = field(default=None)

    def __post_init__(self) -> None:
        self._began = self.clock()

    def changes(self, records: Mapping[ObjectRef, ObjectStatus]) -> Iterator[str]:
        """Yield a line for each object in another phase.

        The first call yields the number of objects in each phase.
        """
        before, self._phases = self._phases, {ref: r.phase for ref, r in records.items()}
        elapsed = f"{seconds(self.clock() - (self._began or 0.0)):>6}"
        if before is None:
            count = Counter(self._phases.values())
            phases = ", ".join(f"{count[phase]} {phase}" for phase in Phase if count[phase])
            yield f"{elapsed}  {counted(len(records), 'object')}{': ' if phases else ''}{phases}"
            return
        for ref in sorted(records):
            record = records[ref]
            if before.get(ref) is not record.phase:
                why = f": {record.message}" if record.phase in _TOLD and record.message else ""
                yield printable(f"{ref} is {record.phase}{why}").join((f"{elapsed}  ", ""))
        for ref in sorted(before.keys() - records.keys()):
            yield f"{elapsed}  {ref} was removed"
