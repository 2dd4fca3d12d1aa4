"""Where Git sources stand for the objects that are made from them: pinned, followed, or unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import is_
from typing import TypeAlias

from reconciler.manifests import UPDATE_ANNOTATION, Manifest
from reconciler.planner.keys import pin_hash
from reconciler.planner.status import ObjectStatus
from reconciler.planner.tasks import Source, annotation
from reconciler.reasons import Reason, ReasonCode, UnresolvedSource
from reconciler.types import GitSource, ObjectRef, ResolvedSource

#: An object's request, where that stands, and what is recorded of the object.
SourceFingerprint: TypeAlias = tuple[
    GitSource | UnresolvedSource | None,
    ResolvedSource | UnresolvedSource | None,
    ObjectStatus | None,
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """What is known of sources.

    ``requests`` says which source an object's URL resolves to, or why none may be used; ``sources``
    where each of those stands; ``records`` what was pinned.
    """

    sources: Mapping[GitSource, ResolvedSource | UnresolvedSource]
    requests: Mapping[ObjectRef, GitSource | UnresolvedSource]
    records: Mapping[ObjectRef, ObjectStatus]

    def glance(self, ref: ObjectRef) -> SourceFingerprint:
        """What :meth:`depends` looks at, itself: all of these the very same, so is the answer."""
        request = self.requests.get(ref)
        now = self.sources.get(request) if isinstance(request, GitSource) else None
        return request, now, self.records.get(ref)

    def same(self, ref: ObjectRef, glance: SourceFingerprint, before: SourceState | None) -> bool:
        """Whether a glance, last taken or found the same ``before``, would be the very same."""
        if self.records.get(ref) is not glance[2]:
            return False
        if before is not None and before.sources is self.sources:
            return before.requests is self.requests or self.requests.get(ref) is glance[0]
        return all(map(is_, self.glance(ref), glance))

    def depends(self, manifest: Manifest) -> object:
        """A value that differs where what :meth:`of` says of the same manifest may."""
        if manifest.git is None:
            return None
        request = self.requests.get(manifest.ref)
        if not isinstance(request, GitSource):
            return request
        record = self.records.get(manifest.ref)
        pinned = record.source if record is not None else None
        now = self.sources.get(request)
        if isinstance(now, ResolvedSource) and pinned is not None and pinned.tree == now.tree:
            return request, now.tree, pinned  # in whichever commit that is
        return request, now, pinned

    def of(self, manifest: Manifest) -> Source | Reason | None:
        """Where an object's Git source stands, or why that is not known; None without one."""
        git = manifest.git
        if git is None:
            return None
        request = self.requests.get(manifest.ref)
        if request is None:
            return Reason.of(ReasonCode.SOURCE_NOT_RESOLVED)
        if isinstance(request, UnresolvedSource):
            return request.reason
        pin = pin_hash(git, update=annotation(manifest, UPDATE_ANNOTATION))
        now = self.sources.get(request, UnresolvedSource(Reason.of(ReasonCode.SOURCE_NOT_RESOLVED)))
        record = self.records.get(manifest.ref)
        pinned = record.source if record else None
        if pinned is not None and pinned.pin == pin and request.url and not git.follow:
            resolved = ResolvedSource(pinned.commit, pinned.tree)
            newest = now if isinstance(now, ResolvedSource) and now != resolved else None
            return Source(git=git, request=request, resolved=resolved, pin=pin, newest=newest)
        if isinstance(now, UnresolvedSource):
            return now.reason
        if pinned is not None and pinned.pin == pin and pinned.tree == now.tree:
            # A commit that left the folder as it was is no news: the recorded one stays.
            now = ResolvedSource(pinned.commit, pinned.tree)
        return Source(git=git, request=request, resolved=now, pin=pin)
