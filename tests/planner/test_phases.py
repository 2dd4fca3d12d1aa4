"""Which objects are in which phase, however they came there."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from reconciler.planner.object_status import ObjectStatus
from reconciler.planner.phase_index import Phases
from reconciler.planner.phases import URGENCY, Phase
from reconciler.types import ObjectRef
from tests.planner.world import dataset, model

REFS = [of(name) for name in "abcd" for of in (model, dataset)]
MOVES = st.lists(st.tuples(st.sampled_from(REFS), st.none() | st.sampled_from(URGENCY)))


@given(MOVES, MOVES)
def test_counts_and_order_are_those_of_the_newest_records(
    first: list[tuple[ObjectRef, Phase | None]], then: list[tuple[ObjectRef, Phase | None]]
) -> None:
    known: dict[ObjectRef, Phase | None] = dict(first)
    left = {ref: phase for ref, phase in known.items() if phase is not None}
    phases = Phases(ObjectStatus(ref=ref, phase=phase) for ref, phase in left.items())
    for ref, phase in then:
        phases.put(ref, phase)
        known[ref] = phase
    left = {ref: phase for ref, phase in known.items() if phase is not None}
    assert len(phases) == len(left)
    assert +Counter(phases.counts()) == Counter((r.kind, p) for r, p in left.items())
    for phase in URGENCY:
        assert phases.of(phase) == sum(1 for p in left.values() if p is phase)
    in_order = sorted(left, key=lambda ref: (URGENCY.index(left[ref]), ref))
    for most in (0, 3, len(REFS)):
        assert list(phases.first(most)) == in_order[:most]
