"""What the daemon told last, and a number that moves only when that differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reconciler.planner import ObjectStatus, Plan
from reconciler.types import ObjectRef, Problem
from reconciler.web.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Sight:
    """What one sync ended with: its plan, every object's record, and the errors at head."""

    plan: Plan
    records: Mapping[ObjectRef, ObjectStatus]
    problems: tuple[Problem, ...]

    def same(self, other: Sight) -> bool:
        """Whether a page of both would be the same, but for the time of the sync."""
        return (
            self.plan.situation.head == other.plan.situation.head
            and self.plan.holds == other.plan.holds
            and self.problems == other.problems
            and self.records == other.records
        )


class Board:
    """Where the daemon pins the newest, and visitors look.

    Pinning costs one copy of a dict. What a page needs beyond that is worked out by the first
    visitor who sees a new one.
    """

    def __init__(self) -> None:
        self._told: Sight | None = None
        self._seen: Sight | None = None
        self._catalog: Catalog | None = None
        self.version = 0

    def tell(
        self, plan: Plan, records: Mapping[ObjectRef, ObjectStatus], problems: Sequence[Problem]
    ) -> None:
        """Pin what a sync ended with; an :data:`~reconciler.daemon.controller.Observer`."""
        self._told = Sight(plan, dict(records), tuple(problems))

    def clear(self) -> None:
        """Nothing is known any more: this replica does not lead."""
        self._told = None

    def look(self) -> Catalog | None:
        """The newest, with :attr:`version` moved on if it is not what was seen last."""
        told, seen = self._told, self._seen
        if told is not seen:
            if told is None or seen is None or not told.same(seen):
                self.version += 1
                self._catalog = None
            self._seen = told
        if self._catalog is None and told is not None:
            self._catalog = Catalog(told.plan, told.records, told.problems)
        return self._catalog
