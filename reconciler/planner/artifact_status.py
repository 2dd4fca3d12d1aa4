"""The artifact, image, manifest, source and references in a status. Pure.

A gate lets an artifact through, or keeps the last one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from reconciler.codec import whole_seconds
from reconciler.manifests import PRUNE_ANNOTATION, Manifest
from reconciler.planner.gates import Judgement, evaluation_metrics, unaccepted
from reconciler.planner.object_status import (
    SERVED_HISTORY,
    ArtifactStatus,
    CandidateStatus,
    ManifestStatus,
    ObjectStatus,
    ReferenceStatus,
    ServedPromotion,
    SourceStatus,
)
from reconciler.planner.plan import PlanInput
from reconciler.planner.tasks import ResolvedObject
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import Commit, ForeignRef, ObjectRef, SourceField, TaskKey


@dataclass(frozen=True, slots=True)
class ArtifactUpdate:
    """The update of an object's artifact and image."""

    inputs: PlanInput
    item: ResolvedObject
    before: ObjectStatus
    judgement: Judgement

    def upstream(self) -> Iterator[tuple[ObjectRef, Judgement]]:
        """Yield other gates that have not accepted the promoted artifact."""
        inputs = self.inputs
        found = unaccepted(self.item, inputs.desired, inputs.records, inputs.ledger)
        return ((ref, judgement) for ref, judgement in found if ref != self.item.ref)

    def candidate(self) -> CandidateStatus | None:
        """Return the desired artifact if the object's own gate has rejected it."""
        found = self.made()
        if found is None or not self.judgement.rejected:
            return None
        return self.judgement.candidate(found.key, found.url)

    def rejection(self) -> Reason | None:
        """Return the reason of a rejected candidate."""
        candidate = self.candidate()
        if candidate is None:
            return None
        failed = "; ".join(candidate.failed)
        return Reason.of(ReasonCode.GATE_FAILED, key=candidate.key[:12], failed=failed)

    def current(self) -> ArtifactStatus | None:
        """Return the desired artifact, once it is complete and accepted."""
        if not self.judgement.accepted or any(self.upstream()):
            return None
        return self.made()

    def made(self) -> ArtifactStatus | None:
        """Return the desired artifact, once it is complete."""
        key = self.item.key
        if key is None:
            return None
        image_key = self.item.image_key
        image = self.image_now(image_key) or self._image_before(key, image_key)
        if self.item.external is not None:
            url = self.item.external.at
            return ArtifactStatus(url=url, key=key, image=image, image_key=image_key)
        complete = self.inputs.ledger.result(key)
        if complete is None or complete.result.url is None:
            return None
        return ArtifactStatus(
            url=complete.result.url,
            key=key,
            image=image,
            image_key=image_key,
            metrics={
                **complete.result.metrics,
                **evaluation_metrics(self.item, self.inputs.ledger),
            },
            verified=self._verified(key),
        )

    def _verified(self, key: TaskKey) -> datetime | None:
        """Return the recorded time of an artifact's last verification."""
        before = self.before.artifact
        return before.verified if before is not None and before.key == key else None

    def artifact(self) -> ArtifactStatus | None:
        """Return the desired artifact, or the last one that is not lost.

        A sweep without a best one has none.
        """
        if self.item.sweep is not None and self.item.sweep.best is None:
            return None
        before = self.before.artifact
        if before is not None and before.key in self.inputs.ledger.losses:
            before = None
        return self.current() or before

    def image(self) -> str | None:
        """Return the image that consumers run in, or the last known one."""
        return self.image_now(self.item.image_key) or self.before.image

    def image_now(self, key: str | None) -> str | None:
        """The image of a build key or digest, where it is known."""
        item = self.item
        if key == item.image_key:
            if item.image is not None:
                return item.image.at
            build = item.image_build
        else:  # that of an evaluation
            build = next((t.image_build for t in item.tasks if t.image_key == key), None)
        built = self.inputs.ledger.result(build)
        return built.result.image if built is not None else None

    def _image_before(self, key: TaskKey, image_key: str | None) -> str | None:
        """The recorded image of an artifact.

        Its build may have another key now.
        """
        before = self.before.artifact
        made = before is not None and (before.key, before.image_key) == (key, image_key)
        return before.image if before is not None and made else None

    def served(self, commit: Commit | None) -> tuple[ServedPromotion, ...]:
        """Return what a promotion has served, with what it serves now.

        ``commit`` is the one by which it serves that.
        """
        before, artifact = self.before.served, self.artifact()
        serves = self.item.promoted is not None and not self.item.tasks
        if not serves or artifact is None or (before and before[-1].key == artifact.key):
            return before
        new = ServedPromotion(
            key=artifact.key,
            url=artifact.url,
            at=whole_seconds(self.inputs.now),
            commit=commit,
        )
        return (*before, new)[-SERVED_HISTORY:]


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
