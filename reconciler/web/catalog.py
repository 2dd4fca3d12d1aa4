"""Every object in the order in which a reader wants to see them, and what refers to what."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property

from reconciler.planner import URGENCY, Hold, ObjectStatus, Phase, Plan
from reconciler.types import ObjectRef, Problem

_RANK = {phase: rank for rank, phase in enumerate(URGENCY)}


class Catalog:
    """The objects of one sync. Each index is made when it is first asked for."""

    def __init__(
        self, plan: Plan, records: Mapping[ObjectRef, ObjectStatus], problems: Sequence[Problem]
    ) -> None:
        self.plan = plan
        self.records = records
        self.problems = problems

    @cached_property
    def ordered(self) -> tuple[ObjectStatus, ...]:
        """Not Ready first, as in the status branch's README.md."""
        return tuple(sorted(self.records.values(), key=lambda r: (_RANK[r.phase], r.ref)))

    @cached_property
    def counts(self) -> dict[Phase, int]:
        """How many objects are in each phase, of those that any is in."""
        counted = Counter(record.phase for record in self.records.values())
        return {phase: counted[phase] for phase in URGENCY if counted[phase]}

    @cached_property
    def namespaces(self) -> tuple[str, ...]:
        """Every namespace that has an object."""
        return tuple(sorted({ref.namespace for ref in self.records}))

    @cached_property
    def upstream(self) -> dict[ObjectRef, tuple[ObjectRef, ...]]:
        """What each object is made from, of the objects there are."""
        return {
            ref: tuple(
                up
                for up, *_ in item.manifest.references
                if isinstance(up, ObjectRef) and up in self.records
            )
            for ref, item in self.plan.situation.desired.items()
            if ref in self.records
        }

    @cached_property
    def downstream(self) -> dict[ObjectRef, tuple[ObjectRef, ...]]:
        """What is made from each object."""
        found: dict[ObjectRef, list[ObjectRef]] = defaultdict(list)
        for ref, ups in self.upstream.items():
            for up in ups:
                found[up].append(ref)
        return {ref: tuple(sorted(downs)) for ref, downs in found.items()}

    def holds_of(self, ref: ObjectRef) -> tuple[Hold, ...]:
        """The holds that keep an object."""
        return tuple(hold for hold in self.plan.holds if ref in hold.objects)

    def problems_of(self, ref: ObjectRef) -> tuple[Problem, ...]:
        """What is wrong with an object's manifest at head."""
        return tuple(problem for problem in self.problems if problem.object == ref)
