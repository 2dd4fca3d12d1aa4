"""Snapshots of syncs, and the cache of the newest one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from reconciler.planner import URGENCY, Hold, ObjectStatus, Phase, Plan
from reconciler.status import CollectionReport
from reconciler.types import ObjectRef, Problem

_RANK = {phase: rank for rank, phase in enumerate(URGENCY)}


class Catalog:
    """The objects of one sync, with indices made when first read."""

    def __init__(
        self,
        plan: Plan,
        records: Mapping[ObjectRef, ObjectStatus],
        problems: Sequence[Problem],
        collection: CollectionReport | None = None,
    ) -> None:
        self.plan = plan
        self.records = records
        self.problems = problems
        self.collection = collection

    @cached_property
    def ordered(self) -> tuple[ObjectStatus, ...]:
        """Return all records, not Ready first, as in the status branch's README.md."""
        return tuple(sorted(self.records.values(), key=lambda r: (_RANK[r.phase], r.ref)))

    @cached_property
    def counts(self) -> dict[Phase, int]:
        """Return the number of objects by phase, without empty phases."""
        counted = Counter(record.phase for record in self.records.values())
        return {phase: counted[phase] for phase in URGENCY if counted[phase]}

    @cached_property
    def namespaces(self) -> tuple[str, ...]:
        """Return every namespace that has an object."""
        return tuple(sorted({ref.namespace for ref in self.records}))

    @cached_property
    def upstream(self) -> dict[ObjectRef, tuple[ObjectRef, ...]]:
        """Return the existing objects that each object is made from."""
        return {
            ref: tuple(
                up
                for up, *_ in item.manifest.references
                if isinstance(up, ObjectRef) and up in self.records
            )
            for ref, item in self.plan.inputs.desired.items()
            if ref in self.records
        }

    @cached_property
    def downstream(self) -> dict[ObjectRef, tuple[ObjectRef, ...]]:
        """Return the objects that are made from each object."""
        found: dict[ObjectRef, list[ObjectRef]] = defaultdict(list)
        for ref, ups in self.upstream.items():
            for up in ups:
                found[up].append(ref)
        return {ref: tuple(sorted(downs)) for ref, downs in found.items()}

    def holds_of(self, ref: ObjectRef) -> tuple[Hold, ...]:
        """Return the holds of an object."""
        return tuple(hold for hold in self.plan.holds if ref in hold.objects)

    def problems_of(self, ref: ObjectRef) -> tuple[Problem, ...]:
        """Return the errors in an object's manifest at head."""
        return tuple(problem for problem in self.problems if problem.object == ref)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The result of a sync: plan, records, errors; the last collection."""

    plan: Plan
    records: Mapping[ObjectRef, ObjectStatus]
    problems: tuple[Problem, ...]
    collection: CollectionReport | None = None

    def same(self, other: Snapshot) -> bool:
        """Return whether both give the same page, but for the sync's time."""
        return (
            self.plan.inputs.head == other.plan.inputs.head
            and self.plan.holds == other.plan.holds
            and self.problems == other.problems
            and self.records == other.records
            and self.collection == other.collection
        )


class PageCache:
    """The newest snapshot, set by the daemon and read by requests.

    Setting it costs one copy of a dict. The catalog of a new snapshot is made by the first request
    for it. :attr:`version` moves on only when the snapshot differs from the last one read.
    """

    def __init__(self) -> None:
        self._newest: Snapshot | None = None
        self._read: Snapshot | None = None
        self._catalog: Catalog | None = None
        self.version = 0

    def update(
        self,
        plan: Plan,
        records: Mapping[ObjectRef, ObjectStatus],
        problems: Sequence[Problem],
        collection: CollectionReport | None = None,
    ) -> None:
        """Set the result of a sync, and that of the last collection."""
        self._newest = Snapshot(plan, dict(records), tuple(problems), collection)

    @property
    def synced(self) -> datetime | None:
        """The time of the newest sync; None where there is none."""
        return self._newest.plan.inputs.now if self._newest is not None else None

    def clear(self) -> None:
        """Remove the snapshot, as this replica does not lead any more."""
        self._newest = None

    def catalog(self) -> Catalog | None:
        """Return the newest snapshot's catalog; None where there is none."""
        newest, read = self._newest, self._read
        if newest is not read:
            if newest is None or read is None or not newest.same(read):
                self.version += 1
                self._catalog = None
            self._read = newest
        if self._catalog is None and newest is not None:
            self._catalog = Catalog(newest.plan, newest.records, newest.problems, newest.collection)
        return self._catalog
