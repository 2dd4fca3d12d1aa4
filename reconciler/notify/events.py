"""What is news between what the status branch said before a push and after it.

Only what is recorded counts. So whoever starts on a branch, after a restart or as a new leader,
has nothing to tell until something differs from what is recorded there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from reconciler.planner import ObjectStatus, Phase
from reconciler.types import JSON, ObjectRef, TaskKey

#: The phases in which an object is told of again when it is in them for another key.
_OF_A_KEY = frozenset({Phase.READY, Phase.FAILED})
#: How much is sent of a message, which may quote what a command printed, in characters.
LONGEST_MESSAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An object that came into a phase, or a hold; ``before`` is None for an object that is new.

    ``key`` is that of the artifact which its manifest asks for, ``key_before`` that of the last
    one told of, and ``artifact`` where it is, once it is there. A hold is told once, by the first
    of its objects; ``objects`` counts them, ``hold`` is the id that releases it.
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
        """What a later event about the same thing has in common with it."""
        return (None, self.hold or "") if self.phase is Phase.HELD else (self.ref, "")

    def to_json(self) -> dict[str, JSON]:
        """As a template, and the body without one, have it."""
        return {
            "type": "hold" if self.phase is Phase.HELD else "phase",
            "kind": self.ref.kind.value,
            "namespace": self.ref.namespace,
            "name": self.ref.name,
            "phase": self.phase.value,
            "before": self.before.value if self.before is not None else None,
            "reason": self.reason,
            "message": self.message,
            "hold": self.hold,
            "key": self.key,
            "artifact": self.artifact,
            "path": self.path,
            "commit": self.commit,
            "objects": self.objects,
        }


def news(
    before: Mapping[ObjectRef, ObjectStatus],
    after: Mapping[ObjectRef, ObjectStatus],
    phases: Collection[Phase],
) -> Iterator[Event]:
    """Objects that came into one of these phases, and holds that are new."""
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
            or (record.phase in _OF_A_KEY and known.desired != record.desired)
        ):
            yield _event(record, known)
    for refs in held.values():
        yield _event(after[refs[0]], before.get(refs[0]), objects=len(refs))


def _event(record: ObjectStatus, known: ObjectStatus | None, *, objects: int = 1) -> Event:
    manifest, text, ready = record.manifest, record.message, record.phase is Phase.READY
    return Event(
        ref=record.ref,
        phase=record.phase,
        before=known.phase if known is not None else None,
        key=record.desired,
        key_before=known.desired if known is not None else None,
        artifact=record.artifact.url if ready and record.artifact is not None else None,
        reason=record.reason,
        message=text if len(text) <= LONGEST_MESSAGE else f"{text[: LONGEST_MESSAGE - 1]}…",
        hold=record.hold,
        path=manifest.path if manifest is not None else "",
        commit=manifest.commit if manifest is not None else "",
        objects=objects,
    )
