"""The manifest, source and references in a status. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.manifests import PRUNE_ANNOTATION, Manifest
from reconciler.planner.object_status import (
    ManifestStatus,
    ObjectStatus,
    ReferenceStatus,
    SourceStatus,
)
from reconciler.planner.plan import PlanInput
from reconciler.planner.tasks import ResolvedObject
from reconciler.types import Commit, ForeignRef, ObjectRef, SourceField


@dataclass(frozen=True, slots=True)
class OriginUpdate:
    """An object's manifest, source and remote references, now and before.

    ``changed`` names the commit that last changed a manifest file, for objects seen for the first
    time.
    """

    inputs: PlanInput
    item: ResolvedObject
    before: ObjectStatus
    changed: Mapping[str, Commit]

    def manifest(self) -> ManifestStatus | None:
        """Return the manifest of an object; an invalid one leaves the last."""
        if self.item.ref in self.inputs.invalid:
            return self.before.manifest
        manifest = self.item.manifest
        commit = self._last_change(manifest, self.before.manifest)
        protected = manifest.document.metadata.annotations.get(PRUNE_ANNOTATION) == "false"
        return ManifestStatus(
            path=manifest.file, commit=commit, digest=manifest.digest, protected=protected
        )

    def _last_change(self, manifest: Manifest, known: ManifestStatus | None) -> Commit:
        """Return the commit that last changed an object's manifest."""
        if known is None:
            return self.changed.get(manifest.file, self.inputs.head)
        same = known.digest == manifest.digest and known.path == manifest.file
        return known.commit if same else self.inputs.head

    def served_by(self, manifest: ManifestStatus | None) -> Commit | None:
        """Return the commit by which a promotion comes to serve another artifact."""
        known, target = self.before.manifest, self.item.promoted
        unchanged = manifest is not None and known is not None and known.digest == manifest.digest
        followed = self.inputs.desired.get(target) if isinstance(target, ObjectRef) else None
        if not unchanged or followed is None:
            return manifest.commit if manifest is not None else None
        record = self.inputs.records.get(followed.ref)
        return self._last_change(followed.manifest, record.manifest if record else None)

    def source(self, field: SourceField) -> SourceStatus | None:
        """Return a resolved source; the last one while none is known."""
        source, data = self.item.source_of(field), self.item.data
        if field is SourceField.OBJECT and data is not None:
            return SourceStatus(url=data.request.url, listing=data.listing, pin=data.pin)
        if source is None:
            return self.before.source_of(field) if field in self.item.manifest.sources else None
        return SourceStatus(
            url=source.request.url or ".",
            commit=source.resolved.commit,
            tree=source.resolved.tree,
            pin=source.pin,
        )

    def references(self) -> tuple[ReferenceStatus, ...]:
        """Return the resolutions of remote references, from now or from before."""
        now = {known.target: known for known in self.item.references}
        targets = [target for target, _, _ in self.item.manifest.references]
        before = {known.target: known for known in self.before.references}
        return tuple(
            known
            for target in targets
            if isinstance(target, ForeignRef)
            for known in (now.get(target) or before.get(target),)
            if known is not None
        )
