"""Resolution of a commit's objects to tasks and keys. Pure.

The result depends on nothing but the manifests, where their sources stand, and (for references
that pin a key, and for pinned sources) what the records remember. Objects are walked in the order
of their references, so each key finds the keys it depends on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush
from types import MappingProxyType

from reconciler.manifests import Manifest
from reconciler.planner.ledger import Ledger
from reconciler.planner.object_status import ObjectStatus
from reconciler.planner.plan_cache import differing, same_keys
from reconciler.planner.references import ReferenceResolver, SourceFingerprint, SourceState
from reconciler.planner.remote_clusters import RemoteCluster, RemoteStatus
from reconciler.planner.task_graph import TaskGraphBuilder
from reconciler.planner.tasks import ResolvedObject, ResolvedReference
from reconciler.reasons import UnresolvedSource
from reconciler.types import ForeignRef, GitSource, ObjectRef, ResolvedSource


@dataclass(slots=True)
class _ExternalInputs:
    """The inputs of an object's keys that are in no manifest.

    ``fingerprint`` has the inputs of ``depends`` if those are of a source alone: while they are
    identical, so is ``depends``.
    """

    fingerprint: SourceFingerprint | None
    depends: list[object]


@dataclass(slots=True)
class ResolverCache:
    """The cache that :func:`resolve` keeps between calls.

    ``known`` has what each object's keys depend on, and what came of it. ``found`` is all that came
    of ``objects``, ``outside`` what of that depended on more than manifests (``sources`` among it),
    ``order`` the place of each object in ``found``, and ``consumers`` who refers to it. Where
    references that pin a key lead back, which no order suits, not ``ordered``.
    """

    known: dict[ObjectRef, tuple[tuple[object, ...], ResolvedObject]] = field(default_factory=dict)
    objects: Mapping[ObjectRef, Manifest] = field(default_factory=dict)
    cluster: str | None = None
    found: dict[ObjectRef, ResolvedObject] = field(default_factory=dict)
    outside: dict[ObjectRef, _ExternalInputs] = field(default_factory=dict)
    sources: SourceState | None = None
    order: dict[ObjectRef, int] = field(default_factory=dict)
    consumers: dict[ObjectRef, list[ObjectRef]] = field(default_factory=dict)
    ordered: bool = True


@dataclass(slots=True)
class Resolver:
    """Resolves objects in the order of their references; see :func:`resolve`."""

    shaping: TaskGraphBuilder
    referring: ReferenceResolver
    memo: ResolverCache
    found: dict[ObjectRef, ResolvedObject]

    def all(self) -> None:
        """Resolve all objects, upstream first, and fill the cache for :meth:`again`."""
        objects, memo = self.referring.objects, self.memo
        self._walk(sorted(objects))
        memo.known = {ref: known for ref, known in memo.known.items() if ref in objects}
        memo.order = {ref: place for place, ref in enumerate(self.found)}
        memo.outside = {
            ref: at for ref, each in objects.items() if (at := self._external_inputs(each))
        }
        memo.consumers, memo.ordered, memo.sources = {}, True, self.shaping.sourcing
        for ref, manifest in objects.items():
            for target, _, _ in manifest.references:
                if isinstance(target, ObjectRef):
                    memo.consumers.setdefault(target, []).append(ref)
                    memo.ordered &= memo.order.get(target, -1) < memo.order[ref]

    def again(self, changed: AbstractSet[ObjectRef]) -> None:
        """Resolve changed objects again, and those downstream of them.

        Their manifest, or an input in no manifest, has changed.
        """
        objects, order = self.referring.objects, self.memo.order
        refs = tuple(order)
        due = [order[ref] for ref in changed]
        heapify(due)
        while due:
            place = heappop(due)
            while due and due[0] == place:
                heappop(due)
            ref = refs[place]
            before, now = self.found[ref], self._one(objects[ref])
            if now is not before:
                self.found[ref] = now
                for consumer in self.memo.consumers.get(ref, ()):
                    heappush(due, order[consumer])
        for ref in changed:
            self.memo.outside.pop(ref, None)
            if (outside := self._external_inputs(objects[ref])) is not None:
                self.memo.outside[ref] = outside

    def moved(self) -> set[ObjectRef]:
        """Return the objects with a changed input that is in no manifest."""
        moved = set()
        before, self.memo.sources = self.memo.sources, self.shaping.sourcing
        for ref, known in self.memo.outside.items():
            if known.fingerprint is not None and self.shaping.sourcing.same(
                ref, known.fingerprint, before
            ):
                continue
            now = self._external_inputs(self.referring.objects[ref])
            if now is None or now.depends != known.depends:
                moved.add(ref)
            if now is not None:
                known.fingerprint, known.depends = now.fingerprint, now.depends
        return moved

    def _walk(self, refs: Iterable[ObjectRef]) -> None:
        """Resolve objects depth first, without recursion.

        A chain of bases can be as long as the repository.
        """
        objects = self.referring.objects
        walking: set[ObjectRef] = set()
        for start in refs:
            if not objects[start].references:
                self.found[start] = self._one(objects[start])
                continue
            stack: list[tuple[ObjectRef, bool]] = [(start, False)]
            while stack:
                ref, entered = stack.pop()
                if entered:
                    walking.discard(ref)
                    self.found[ref] = self._one(objects[ref])
                elif ref not in self.found and ref not in walking and ref in objects:
                    upstream = [up for up, _, _ in objects[ref].references if up not in self.found]
                    if not upstream:
                        self.found[ref] = self._one(objects[ref])
                        continue
                    walking.add(ref)
                    stack.append((ref, True))
                    stack.extend((up, False) for up in upstream if isinstance(up, ObjectRef))

    def _one(self, manifest: Manifest) -> ResolvedObject:
        # Everything that its keys are made of besides the manifest, which the memo keeps alive.
        depends = (
            id(manifest),
            self.shaping.cluster,
            self.shaping.sourcing.depends(manifest),
            *[
                self.referring.depends(manifest.ref, target, reference)
                for target, reference, _ in manifest.references
            ],
        )
        known = self.memo.known.get(manifest.ref)
        if known is not None and known[0] == depends:
            return known[1]
        upstream = {
            path: self.referring.upstream(manifest.ref, target, reference)
            for target, reference, path in manifest.references
        }
        found = self.shaping.of(manifest, upstream)
        resolved = (up.reference for up in upstream.values() if isinstance(up, ResolvedReference))
        found = replace(found, references=tuple(known for known in resolved if known is not None))
        self.memo.known[manifest.ref] = depends, found
        return found

    def _external_inputs(self, manifest: Manifest) -> _ExternalInputs | None:
        """Return the inputs of an object's keys in no manifest; mostly None."""
        found = [
            self.referring.depends(manifest.ref, target, reference)
            for target, reference, _ in manifest.references
            if isinstance(target, ForeignRef) or reference.key is not None
        ]
        if manifest.git is None:
            return _ExternalInputs(None, found) if found else None
        fingerprint = None if found else self.shaping.sourcing.fingerprint(manifest.ref)
        return _ExternalInputs(fingerprint, [self.shaping.sourcing.depends(manifest), *found])


def resolve(
    *,
    cluster: str,
    objects: Mapping[ObjectRef, Manifest],
    sources: Mapping[GitSource, ResolvedSource | UnresolvedSource],
    requests: Mapping[ObjectRef, GitSource | UnresolvedSource],
    records: Mapping[ObjectRef, ObjectStatus],
    ledger: Ledger,
    allowed: Mapping[str, RemoteCluster] = MappingProxyType({}),
    peers: RemoteStatus = MappingProxyType({}),
    ahead: bool = False,
    memo: ResolverCache | None = None,
) -> dict[ObjectRef, ResolvedObject]:
    """Resolve all objects to tasks and keys, each after its references.

    ``requests`` says which source an object's URL resolves to, or why none may be used;
    ``sources`` where each of those stands. ``allowed`` says what each other cluster's status may
    name, ``peers`` what that says of the objects referred to; ``ahead`` that references which
    follow one of those are to be taken for unknown. With a ``memo`` that is handed in
    again, only objects are worked out whose manifest, or anything upstream of it, is another than
    the last time; where that is none, what is returned is the very same as then.
    """
    memo = memo if memo is not None else ResolverCache()

    def over(found: dict[ObjectRef, ResolvedObject]) -> Resolver:
        return Resolver(
            shaping=TaskGraphBuilder(
                cluster, SourceState(sources=sources, requests=requests, records=records)
            ),
            referring=ReferenceResolver(
                objects=objects,
                found=found,
                records=records,
                ledger=ledger,
                allowed=allowed,
                peers=peers,
                ahead=ahead,
            ),
            memo=memo,
            found=found,
        )

    if memo.ordered and memo.cluster == cluster and same_keys(memo.objects, objects):
        changed = differing(memo.objects, objects)
        if all(objects[ref].references == memo.objects[ref].references for ref in changed):
            changed |= over(memo.found).moved()
            memo.objects = objects
            if changed:
                walk = over(dict(memo.found))
                walk.again(changed)
                if differing(memo.found, walk.found):
                    memo.found = walk.found
            return memo.found
    walk = over({})
    walk.all()
    memo.objects, memo.cluster, memo.found = objects, cluster, walk.found
    return walk.found
