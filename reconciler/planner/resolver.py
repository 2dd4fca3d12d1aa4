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

from reconciler.manifests import Manifest, Tenants
from reconciler.planner.evaluation_graph import accepted_artifact, compares, with_gate
from reconciler.planner.identical import differing, same_keys
from reconciler.planner.ledger import Ledger
from reconciler.planner.object_status import ObjectStatus
from reconciler.planner.plan_cache import CacheEntry, PlanCache
from reconciler.planner.planner_config import RemoteCluster
from reconciler.planner.references import (
    ReferenceResolver,
    SourceRequests,
    SourceState,
    hash_pins,
)
from reconciler.planner.remote_clusters import RemoteStatus
from reconciler.planner.sweeps import outcomes, with_best
from reconciler.planner.task_graph import TaskGraphBuilder
from reconciler.planner.tasks import ResolvedObject, ResolvedReference
from reconciler.reasons import UnresolvedSource
from reconciler.types import ForeignRef, FoundSource, ObjectRef, SourceRequest

_ONE_TENANT = Tenants()


@dataclass(frozen=True, slots=True)
class _Resolution:
    """All resolved objects, with what resolving the next commit takes.

    ``depends`` has what each object's keys depend on beside its manifest, ``places`` the place of
    each object, upstream first, and ``consumers`` who refers to it. ``external`` are the objects
    whose result is in no manifest: sweeps, and those with such references or with a gate that
    compares. Where references that pin a key lead back, which no order suits, not ``ordered``.
    """

    found: Mapping[ObjectRef, ResolvedObject] = field(default_factory=dict)
    depends: Mapping[ObjectRef, tuple[object, ...]] = field(default_factory=dict)
    places: Mapping[ObjectRef, int] = field(default_factory=dict)
    consumers: Mapping[ObjectRef, list[ObjectRef]] = field(default_factory=dict)
    external: AbstractSet[ObjectRef] = frozenset()
    ordered: bool = True


@dataclass(slots=True)
class Resolver:
    """Resolves objects in the order of their references; see :func:`resolve`."""

    shaping: TaskGraphBuilder
    referring: ReferenceResolver
    last: _Resolution
    found: dict[ObjectRef, ResolvedObject]
    depends: dict[ObjectRef, tuple[object, ...]]

    def all(self) -> _Resolution:
        """Resolve all objects, upstream first."""
        objects = self.referring.objects
        self._walk(sorted(objects))
        places = {ref: place for place, ref in enumerate(self.found)}
        consumers: dict[ObjectRef, list[ObjectRef]] = {}
        external, ordered = set(), True
        for ref, manifest in objects.items():
            if compares(manifest) or self.found[ref].sweep is not None:
                external.add(ref)
            for target, reference, _ in manifest.references:
                if isinstance(target, ForeignRef) or reference.key is not None:
                    external.add(ref)
                if isinstance(target, ObjectRef):
                    consumers.setdefault(target, []).append(ref)
                    ordered &= places.get(target, -1) < places[ref]
        return _Resolution(self.found, self.depends, places, consumers, external, ordered)

    def again(self, changed: AbstractSet[ObjectRef]) -> _Resolution:
        """Resolve changed objects again, and those downstream of what then differs."""
        objects, places = self.referring.objects, self.last.places
        refs = tuple(places)
        due = [places[ref] for ref in changed]
        heapify(due)
        while due:
            place = heappop(due)
            while due and due[0] == place:
                heappop(due)
            ref = refs[place]
            now = self._one(objects[ref])
            if now is not self.found[ref]:
                self.found[ref] = now
                for consumer in self.last.consumers.get(ref, ()):
                    heappush(due, places[consumer])
        found = self.found if differing(self.last.found, self.found) else self.last.found
        return replace(self.last, found=found, depends=self.depends)

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
        ref = manifest.ref
        current = None
        if compares(manifest):
            current = accepted_artifact(self.referring.records.get(ref), self.referring.ledger)
        known, ledger = self.last.found.get(ref), self.referring.ledger
        depends: tuple[object, ...] = (
            self.shaping.sourcing.of(manifest),
            current,
            *[
                self.referring.depends(ref, target, reference)
                for target, reference, _ in manifest.references
            ],
        )
        last = (*depends, outcomes(known, ledger))
        if known is not None and known.manifest is manifest and self.last.depends[ref] == last:
            self.depends[ref] = last
            return known
        upstream = {
            path: self.referring.upstream(ref, target, reference)
            for target, reference, path in manifest.references
        }
        found = with_best(self.shaping.of(manifest, upstream), ledger)
        self.depends[ref] = (*depends, outcomes(found, ledger))
        test = self.shaping.test_image(manifest)
        found = with_gate(found, upstream, current, test, cluster=self.shaping.cluster)
        resolved = (up.reference for up in upstream.values() if isinstance(up, ResolvedReference))
        return replace(found, references=tuple(known for known in resolved if known is not None))


def resolve(
    *,
    cluster: str,
    objects: Mapping[ObjectRef, Manifest],
    sources: Mapping[SourceRequest, FoundSource | UnresolvedSource],
    requests: Mapping[ObjectRef, SourceRequests],
    records: Mapping[ObjectRef, ObjectStatus],
    ledger: Ledger,
    allowed: Mapping[str, RemoteCluster] = MappingProxyType({}),
    remote: RemoteStatus = MappingProxyType({}),
    tenants: Tenants = _ONE_TENANT,
    ahead: bool = False,
    cache: PlanCache | None = None,
) -> Mapping[ObjectRef, ResolvedObject]:
    """Resolve all objects to tasks and keys, each after its references.

    ``requests`` says which source each field of an object asks for, or why none may be used;
    ``sources`` where each of those stands. ``allowed`` says what each other cluster's status may
    name, ``remote`` what that says of the objects referred to; ``ahead`` that references which
    follow one of those are to be taken for unknown. Each of ``tenants`` builds for itself. Where
    nothing differs from the last call with the ``cache``, what is returned is the very same as
    then.
    """
    cache = cache if cache is not None else PlanCache()
    now = SourceState(
        sources=sources,
        requests=requests,
        records=records,
        pins=cache.table("pins", objects, hash_pins),
    )

    def amended(entry: CacheEntry[_Resolution] | None) -> _Resolution:
        last, changed = _Resolution(), None
        if entry is not None and entry.inputs[0] == (cluster, tenants):
            last, changed = entry.value, _changed(entry, objects, now, cache)
        if changed is not None and not changed:
            return last
        found = dict(last.found) if changed is not None else {}
        resolver = Resolver(
            shaping=TaskGraphBuilder(cluster, now, tenants),
            referring=ReferenceResolver(
                objects=objects,
                found=found,
                records=records,
                ledger=ledger,
                allowed=allowed,
                remote=remote,
                tenants=tenants,
                ahead=ahead,
            ),
            last=last,
            found=found,
            depends=dict(last.depends) if changed is not None else {},
        )
        return resolver.again(changed) if changed is not None else resolver.all()

    # The state of the sources is never identical: what depends on the ledger or on other clusters
    # is compared by its result.
    return cache.value("resolved", ((cluster, tenants), objects, now), amended).found


def _changed(
    entry: CacheEntry[_Resolution],
    objects: Mapping[ObjectRef, Manifest],
    now: SourceState,
    cache: PlanCache,
) -> AbstractSet[ObjectRef] | None:
    """Return the objects that may be resolved otherwise now, beside those downstream.

    None if their order may be another.
    """
    _, old, before = entry.inputs
    if not entry.value.ordered or not same_keys(old, objects):
        return None
    changed = cache.differing(old, objects)
    if any(objects[ref].references != old[ref].references for ref in changed):
        return None
    changed |= cache.differing(before.records, now.records) & now.pins.keys()
    changed |= cache.differing(before.requests, now.requests)
    if moved := cache.differing(before.sources, now.sources):
        depends = entry.value.depends
        changed |= {
            ref
            for ref, requests in now.requests.items()
            if any(
                not isinstance(request, UnresolvedSource) and request in moved
                for request in requests.values()
            )
            and now.of(objects[ref]) != depends[ref][0]
        }
    return changed | entry.value.external
