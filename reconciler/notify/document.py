"""The JSON of a delivery, which is also what templates read.

Each class is the format of one of its objects, so a field that is renamed here is renamed there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from reconciler.codec import Codec
from reconciler.notify.events import Digest, Event
from reconciler.planner import Phase
from reconciler.types import JSON, Kind, TaskKey


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    type: Literal["phase", "hold"]
    kind: Kind
    namespace: str
    name: str
    phase: Phase
    before: Phase | None
    reason: str
    message: str
    hold: str | None
    key: TaskKey | None
    artifact: str | None
    path: str
    commit: str
    objects: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Digest:
    cluster: str
    events: tuple[_Event, ...]
    counts: Mapping[str, int]
    more: int


_DIGEST = Codec(_Digest, omit="nothing")


def digest_document(digest: Digest, *, cluster: str) -> dict[str, JSON]:
    """Return a digest as templates, and a body without one, have it."""
    return _DIGEST.dump(
        _Digest(
            cluster=cluster,
            events=tuple(map(_event, digest.events)),
            counts={phase.value: count for phase, count in digest.counts.items()},
            more=digest.more,
        )
    )


def _event(event: Event) -> _Event:
    return _Event(
        type="hold" if event.phase is Phase.HELD else "phase",
        kind=event.ref.kind,
        namespace=event.ref.namespace,
        name=event.ref.name,
        phase=event.phase,
        before=event.before,
        reason=event.reason,
        message=event.message,
        hold=event.hold,
        key=event.key,
        artifact=event.artifact,
        path=event.path,
        commit=event.commit,
        objects=event.objects,
    )
