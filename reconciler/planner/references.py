"""Resolution of sources and of references to objects. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from reconciler.manifests import UPDATE_ANNOTATION, Manifest, Reference, Tenants
from reconciler.planner.gates import is_accepted, judge, makes
from reconciler.planner.keys import as_request_hash, follow_request_hash, pin_hash, tenant_build_key
from reconciler.planner.ledger import Ledger
from reconciler.planner.object_status import HistoryEntry, ObjectStatus, ReferenceStatus, Verdict
from reconciler.planner.phases import TaskPhase
from reconciler.planner.planner_config import RemoteCluster
from reconciler.planner.remote_clusters import RemoteArtifact, RemoteStatus, Unavailable, refused
from reconciler.planner.tasks import (
    ExternalArtifact,
    ObservedData,
    PlannedArtifact,
    ResolvedObject,
    ResolvedReference,
    Source,
    annotation,
)
from reconciler.reasons import Reason, ReasonCode, UnresolvedSource
from reconciler.types import (
    BucketSource,
    DataListing,
    ForeignRef,
    FoundSource,
    GitSource,
    Hash,
    Kind,
    ObjectRef,
    ResolvedSource,
    SourceField,
    SourceRequest,
    TaskKey,
    TaskKind,
)

#: The source that each field of one object asks for, or the reason that it may not be read.
SourceRequests: TypeAlias = Mapping[SourceField, SourceRequest | UnresolvedSource]

_UNRESOLVED = UnresolvedSource(Reason.of(ReasonCode.SOURCE_NOT_RESOLVED))


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """The state of sources: requests, resolved commits, listings and pins.

    ``requests`` says which source each field of an object asks for, or why none may be used;
    ``sources`` where each of those stands; ``records`` what was pinned, for requests with the hash
    in ``pins``.
    """

    pins: Mapping[ObjectRef, Mapping[SourceField, Hash]]
    sources: Mapping[SourceRequest, FoundSource | UnresolvedSource]
    requests: Mapping[ObjectRef, SourceRequests]
    records: Mapping[ObjectRef, ObjectStatus]

    def of(self, manifest: Manifest) -> Mapping[SourceField, Source | ObservedData | Reason | None]:
        """Resolve an object's sources, each of either kind.

        An unresolved source has the reason in its place.
        """
        if manifest.observed is not None:
            return {SourceField.OBJECT: self.data(manifest)}
        return {field: self.git(manifest, field) for field in manifest.git_sources}

    def _request(self, manifest: Manifest, field: SourceField) -> SourceRequest | UnresolvedSource:
        return self.requests.get(manifest.ref, {}).get(field, _UNRESOLVED)

    def data(self, manifest: Manifest) -> ObservedData | Reason:
        """Resolve a Dataset's observed bucket, or return the reason if unresolved."""
        bucket, request = manifest.observed, self._request(manifest, SourceField.OBJECT)
        assert bucket is not None  # the caller looked
        if not isinstance(request, BucketSource):
            return request.reason if isinstance(request, UnresolvedSource) else _UNRESOLVED.reason
        pin = self.pins[manifest.ref][SourceField.OBJECT]
        now = self.sources.get(request, _UNRESOLVED)
        record = self.records.get(manifest.ref)
        pinned = record.source if record else None
        if (
            pinned is not None
            and pinned.listing is not None
            and pinned.pin == pin
            and not bucket.follow
        ):
            newest = now if isinstance(now, DataListing) and now != pinned.listing else None
            return ObservedData(
                bucket=bucket, request=request, listing=pinned.listing, pin=pin, newest=newest
            )
        if not isinstance(now, DataListing):
            return now.reason if isinstance(now, UnresolvedSource) else _UNRESOLVED.reason
        return ObservedData(bucket=bucket, request=request, listing=now, pin=pin)

    def git(self, manifest: Manifest, field: SourceField) -> Source | Reason | None:
        """Resolve the Git source that a field names, if any.

        Returns the reason if the source is unresolved.
        """
        git = manifest.git_sources.get(field)
        if git is None:
            return None
        request = self._request(manifest, field)
        if isinstance(request, UnresolvedSource):
            return request.reason
        if not isinstance(request, GitSource):
            return _UNRESOLVED.reason
        pin = self.pins[manifest.ref][field]
        now = self.sources.get(request, _UNRESOLVED)
        record = self.records.get(manifest.ref)
        known = record.source_of(field) if record else None
        pinned = known.resolved if known is not None and known.pin == pin else None
        if pinned is not None and request.url and not git.follow:
            newest = now if isinstance(now, ResolvedSource) and now != pinned else None
            return Source(
                field=field, git=git, request=request, resolved=pinned, pin=pin, newest=newest
            )
        if not isinstance(now, ResolvedSource):
            return now.reason if isinstance(now, UnresolvedSource) else _UNRESOLVED.reason
        if pinned is not None and pinned.tree == now.tree:
            # A commit that left the folder as it was is no news: the recorded one stays.
            now = pinned
        return Source(field=field, git=git, request=request, resolved=now, pin=pin)


def hash_pins(_: ObjectRef, manifest: Manifest) -> Mapping[SourceField, Hash] | None:
    """Return the pin hashes of an object's sources, if any."""
    update = annotation(manifest, UPDATE_ANNOTATION)
    return {
        field: pin_hash(source, update=update) for field, source in manifest.sources.items()
    } or None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceResolver:
    """Resolves references to objects of this and of other clusters.

    ``found`` are the objects that were worked out already, each after those it refers to.
    ``allowed`` says for each other cluster what its status may name; ``remote`` what that says.
    ``ahead``: for what a sync will do later, when what a reference follows may be another.
    """

    objects: Mapping[ObjectRef, Manifest]
    found: Mapping[ObjectRef, ResolvedObject]
    records: Mapping[ObjectRef, ObjectStatus]
    ledger: Ledger
    allowed: Mapping[str, RemoteCluster]
    remote: RemoteStatus
    tenants: Tenants
    ahead: bool = False

    def upstream(
        self, ref: ObjectRef, target: ObjectRef | ForeignRef, reference: Reference
    ) -> ResolvedReference | Reason:
        """Resolve a reference of an object, or return the reason if unresolved."""
        key = TaskKey(reference.key) if reference.key is not None else None
        if isinstance(target, ForeignRef):
            return self._foreign(ref, target, key)
        if key is not None:
            return self._pinned(target, key)
        return self._current(target)

    def depends(
        self, ref: ObjectRef, target: ObjectRef | ForeignRef, reference: Reference
    ) -> object:
        """Return a value that differs if :meth:`upstream` may differ."""
        if isinstance(target, ForeignRef) or reference.key is not None:
            return self.upstream(ref, target, reference)
        item = self.found.get(target)
        return item if item is not None else target in self.objects

    # -- this cluster ----------------------------------------------------------------------

    def _current(self, target: ObjectRef) -> ResolvedReference | Reason:
        item = self.found.get(target)
        if item is None:
            known = target in self.objects
            code = ReasonCode.REFERENCE_CYCLE if known else ReasonCode.REFERENCE_INVALID
            return Reason.of(code, object=target)
        if item.key is None or item.request_hash is None:
            return Reason.of(ReasonCode.REFERENCE_BLOCKED, object=target, cause=item.unknown)
        return ResolvedReference(
            who=target,
            artifact=PlannedArtifact(
                key=item.key, request_hash=item.request_hash, external=item.external
            ),
            image_key=item.image_key,
            image_build=item.image_build,
            image_request_hash=item.image_request_hash,
            image=item.image,
            gates=item.gates,
        )

    def _pinned(self, target: ObjectRef, key: TaskKey) -> ResolvedReference | Reason:
        """Resolve a pinned key to a complete artifact of the target.

        It was made by the target, or is external.
        """
        record, item = self.records.get(target), self.found.get(target)
        if item is not None and item.key == key and item.external is not None:
            return self._current(target)
        entries = record.history if record is not None else ()
        made = next((e for e in entries if _is_of(e, key)), None)
        wanted = item is not None and any(
            task.key == key and task.kind is not TaskKind.EVALUATE for task in item.tasks
        )
        known = self.ledger.result(key) or self.ledger.restoring.get(key)
        complete = known if made is not None or wanted else None
        loss = self.ledger.losses.get(key)
        if loss is not None and not wanted:
            return Reason.of(ReasonCode.ARTIFACT_LOST, input=f"artifact of {target}", url=loss.url)
        if complete is None or complete.result.url is None:
            return Reason.of(ReasonCode.REFERENCE_INCOMPLETE, object=target, key=key)
        unaccepted = self._unaccepted(target, key, item, record)
        if unaccepted is not None:
            return unaccepted
        image_key, image_build, image = self._image(target, complete.image_key, item, made)
        return ResolvedReference(
            who=target,
            artifact=PlannedArtifact(key=key, request_hash=as_request_hash(key)),
            image_key=image_key,
            image_build=image_build,
            image_request_hash=image_key,
            image=image,
        )

    def _unaccepted(
        self,
        target: ObjectRef,
        key: TaskKey,
        item: ResolvedObject | None,
        record: ObjectStatus | None,
    ) -> Reason | None:
        """Return the reason if a gate has not accepted a pinned artifact."""
        if item is not None and item.key == key:
            found = judge(item, record, self.ledger)
            verdict = found.verdict
        else:
            entries = [e for e in (record.history if record else ()) if makes(e, key)]
            if not entries or any(map(is_accepted, entries)):
                return None
            current = record.artifact if record is not None else None
            if current is not None and current.key == key:
                return None
            verdict = entries[-1].verdict or Verdict.ACCEPTED
        if verdict is Verdict.ACCEPTED:
            return None
        code = ReasonCode.BASE_REJECTED
        if verdict is Verdict.PENDING:
            code = ReasonCode.BASE_NOT_ACCEPTED
        return Reason.of(code, object=target, key=key[:12])

    def _image(
        self,
        target: ObjectRef,
        key: Hash | None,
        item: ResolvedObject | None,
        made: HistoryEntry | None,
    ) -> tuple[Hash | None, TaskKey | None, ExternalArtifact | None]:
        """Return a pinned artifact's image: key, build, and digest.

        Without a key it is lost.
        """
        if key is not None and item is not None and item.image_key == key:
            return key, item.image_build, item.image
        if key is not None:
            tenant = self.tenants.name_of(target.namespace)
            build = TaskKey(tenant_build_key(key, tenant))
            if self.ledger.has(build, TaskKind.BUILD):
                return key, build, None
            if made is not None and made.image is not None:
                return key, None, ExternalArtifact(at=made.image)
        return None, None, None

    # -- other clusters --------------------------------------------------------------------

    def _foreign(
        self, ref: ObjectRef, target: ForeignRef, key: TaskKey | None
    ) -> ResolvedReference | Reason:
        """Resolve a reference to an artifact of another cluster.

        Where that cannot be asked, the one that was used last still says what is made already.
        """
        found = self._remote_artifact(target, key)
        if self.ahead and key is None:
            now = f"{found.key[:12]} there now" if isinstance(found, RemoteArtifact) else found
            found = Reason.of(ReasonCode.REMOTE_UNKNOWN, object=target, now=now)
        halted = found if isinstance(found, Reason) else None
        artifact = (
            found if isinstance(found, RemoteArtifact) else self._remembered(ref, target, key)
        )
        if artifact is None:
            assert halted is not None
            return halted
        model = target.ref.kind is Kind.MODEL
        image_key = artifact.image_key if model else None
        image_request_hash = image_key
        request_hash = as_request_hash(artifact.key)
        if key is None:
            request_hash = as_request_hash(follow_request_hash(target, "artifact"))
            image_request_hash = follow_request_hash(target, "image") if model else None
        image = artifact.image if model else None
        return ResolvedReference(
            who=target,
            artifact=PlannedArtifact(
                key=artifact.key,
                request_hash=request_hash,
                external=ExternalArtifact(at=artifact.url, cluster=target.cluster, halted=halted),
            ),
            image_key=image_key,
            image_request_hash=image_request_hash,
            image=ExternalArtifact(at=image, cluster=target.cluster, halted=halted)
            if image
            else None,
            reference=ReferenceStatus(
                target=target,
                key=artifact.key,
                url=artifact.url,
                image=image,
                image_key=image_key,
            ),
        )

    def _remote_artifact(self, target: ForeignRef, key: TaskKey | None) -> RemoteArtifact | Reason:
        cluster = self.allowed.get(target.cluster)
        if cluster is None:
            return Reason.of(ReasonCode.CLUSTER_NOT_CONFIGURED, object=target)
        known = self.remote.get(target, Unavailable("its status has not been read yet"))
        if isinstance(known, Unavailable):
            return Reason.of(
                ReasonCode.REMOTE_STATUS_UNAVAILABLE, object=target, detail=known.detail
            )
        artifact = known.artifacts.get(key) if key is not None else known.current
        if artifact is None:
            which = key if key is not None else "yet"
            return Reason.of(
                ReasonCode.REMOTE_INCOMPLETE, object=target, phase=known.phase, key=which
            )
        why = refused(artifact, cluster, image=target.ref.kind is Kind.MODEL)
        if why is not None:
            return Reason.of(ReasonCode.REMOTE_ARTIFACT_REFUSED, object=target, detail=why)
        return artifact

    def _remembered(
        self, ref: ObjectRef, target: ForeignRef, key: TaskKey | None
    ) -> RemoteArtifact | None:
        record = self.records.get(ref)
        for known in record.references if record is not None else ():
            if known.target == target and key in (None, known.key):
                return RemoteArtifact(
                    key=known.key, url=known.url, image=known.image, image_key=known.image_key
                )
        return None


def _is_of(entry: HistoryEntry, key: TaskKey) -> bool:
    """Return whether an entry is of a complete artifact or image."""
    return (
        entry.key == key
        and entry.phase is TaskPhase.SUCCEEDED
        and entry.task is not TaskKind.EVALUATE
    )
