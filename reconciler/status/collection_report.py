"""``collection.json``: what the last collection found, for commands and the page."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from reconciler.codec import Codec, CodecError
from reconciler.engine import CollectedKind
from reconciler.planner import Remains, RetainedArtifact, RetentionInput, RetentionPlan
from reconciler.reasons import ReasonCode, message
from reconciler.types import API_VERSION, Kind, ObjectRef, TaskKey

COLLECTION_FILE = "collection.json"
#: Artifacts that the file lists, those to collect first; and referrers of each.
MOST_ARTIFACTS = 10_000
_MOST_REFERRERS = 5


class CollectionStep(enum.StrEnum):
    """The next step of a collection with an artifact."""

    KEEP = "keep"
    HIDE = "hide"
    HOLD = "hold"
    WITHHOLD = "withhold"
    REMOVE = "remove"
    RESTORE = "restore"


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionEntry:
    """An artifact and its next step, from ``due`` on.

    ``size`` is in bytes; of an image it is 0 where it was not read. ``used_by`` are the first that
    refer to it. ``what`` is also what failed attempts, or a try, have left.
    """

    key: TaskKey
    kind: Kind
    namespace: str
    name: str
    step: CollectionStep
    size: int
    made: datetime
    hidden: datetime | None = None
    due: datetime | None = None
    used_by: tuple[str, ...] = ()
    what: CollectedKind = CollectedKind.ARTIFACT

    @property
    def collected(self) -> bool:
        """True if nothing refers to the artifact."""
        return self.step not in (CollectionStep.KEEP, CollectionStep.RESTORE)

    @property
    def ref(self) -> ObjectRef:
        """The object whose it is."""
        return ObjectRef(self.kind, self.namespace, self.name)

    @property
    def image(self) -> bool:
        """True if it is an image in a registry."""
        return self.what is CollectedKind.IMAGE


#: Reasons that keep some artifacts or images alone.
_OF_SOME = (ReasonCode.ARTIFACTS_KEPT, ReasonCode.IMAGES_KEPT)


@dataclass(frozen=True, slots=True, kw_only=True)
class WithheldReason:
    """A reason why nothing, or not everything, is collected.

    ``hold`` is the id that releases what is held.
    """

    reason: str
    message: str
    hold: str | None = None

    @property
    def keeps_all(self) -> bool:
        """True if nothing at all is collected because of it."""
        return self.hold is None and self.reason not in _OF_SOME


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionReport:
    """The result of a collection. Not ``enabled``: nothing of it is done."""

    enabled: bool = False
    withheld: tuple[WithheldReason, ...] = ()
    artifacts: tuple[CollectionEntry, ...] = ()
    omitted: int = 0

    @classmethod
    def of(
        cls, inputs: RetentionInput, plan: RetentionPlan, remains: Sequence[Remains] = ()
    ) -> Self:
        """Make the report of a plan, and of ``remains`` that are due."""
        withheld = [
            WithheldReason(reason=reason.code.value, message=message(reason))
            for reason in (*plan.doubts, *inputs.untouched)
        ]
        withheld += [
            WithheldReason(
                reason=hold.reason.code.value, message=message(hold.reason), hold=hold.id
            )
            for hold in plan.holds
        ]
        steps = _steps(plan)
        entries = [_entry(a, inputs, plan, steps) for a in inputs.artifacts.values()]
        entries += map(_rest_entry, remains)
        entries.sort(key=lambda e: (not e.collected, e.kind, e.namespace, e.name, e.made, e.key))
        return cls(
            enabled=inputs.policy.enabled,
            withheld=tuple(withheld),
            artifacts=tuple(entries[:MOST_ARTIFACTS]),
            omitted=len(entries[MOST_ARTIFACTS:]),
        )

    @property
    def notable(self) -> bool:
        """True with something to collect, or a reason against it."""
        return bool(self.collected or (self.enabled and self.withheld))

    @property
    def collected(self) -> tuple[CollectionEntry, ...]:
        """The artifacts that nothing refers to."""
        return tuple(entry for entry in self.artifacts if entry.collected)


def _steps(plan: RetentionPlan) -> Mapping[TaskKey, CollectionStep]:
    """Return the next steps of artifacts, without those that stay."""
    held = frozenset[TaskKey]().union(*(hold.keys for hold in plan.holds))
    steps = dict.fromkeys(plan.unreferenced, CollectionStep.WITHHOLD)
    steps |= dict.fromkeys(plan.hide, CollectionStep.HIDE)
    steps |= dict.fromkeys(held, CollectionStep.HOLD)
    return steps | dict.fromkeys(plan.restore, CollectionStep.RESTORE)


def _entry(
    artifact: RetainedArtifact,
    inputs: RetentionInput,
    plan: RetentionPlan,
    steps: Mapping[TaskKey, CollectionStep],
) -> CollectionEntry:
    key, hidden = artifact.key, artifact.hidden
    step = steps.get(key, CollectionStep.KEEP if hidden is None else CollectionStep.REMOVE)
    removed = step is CollectionStep.REMOVE and hidden is not None
    return CollectionEntry(
        key=key,
        kind=artifact.ref.kind,
        namespace=artifact.ref.namespace,
        name=artifact.ref.name,
        step=step,
        size=artifact.size,
        made=artifact.made,
        hidden=hidden,
        due=hidden + inputs.policy.grace if removed and hidden is not None else None,
        used_by=tuple(map(str, plan.kept.get(key, ())[:_MOST_REFERRERS])),
        what=CollectedKind.IMAGE if artifact.is_image else CollectedKind.ARTIFACT,
    )


def _rest_entry(rest: Remains) -> CollectionEntry:
    return CollectionEntry(
        key=rest.key,
        kind=rest.ref.kind,
        namespace=rest.ref.namespace,
        name=rest.ref.name,
        step=CollectionStep.REMOVE,
        size=rest.size,
        made=rest.since,
        what=rest.what,
    )


_REPORT = Codec(CollectionReport)


def dump_collection(report: CollectionReport) -> bytes:
    """Write the text of ``collection.json``."""
    tree = {"apiVersion": API_VERSION, "kind": "Collection", **_REPORT.dump(report)}
    return json.dumps(tree, indent=1, ensure_ascii=False).encode() + b"\n"


def read_collection(data: bytes | None) -> CollectionReport | None:
    """Read ``collection.json``; None where it is not of the format."""
    try:
        return _REPORT.load(json.loads(data)) if data is not None else None
    except (ValueError, RecursionError, CodecError):
        return None
