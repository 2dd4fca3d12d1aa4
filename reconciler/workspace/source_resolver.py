"""Sources of manifests, resolved to commits and trees, or to listings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import chain

from reconciler.git import GitError, Repository, resolve_url, unresolved
from reconciler.manifests import GitSection, Manifest
from reconciler.planner import ObjectStatus, PlanCache, SourceRequests
from reconciler.reasons import Reason, ReasonCode, UnresolvedSource
from reconciler.types import (
    BucketSource,
    Commit,
    DataListing,
    FoundSource,
    GitSource,
    ObjectRef,
    ResolvedSource,
    SourceField,
    SourceRequest,
)
from reconciler.urls import admits_url

#: The sources that each object asks for, or the reasons that they may not be read.
Requests = Mapping[ObjectRef, SourceRequests]
#: Resolves sources in other repositories, those of some URLs by a new look-up.
RemoteSources = Callable[[AbstractSet[GitSource], AbstractSet[str]], "GitResolutions"]
#: The commit and tree of each Git source, or the reason that it has none.
GitResolutions = Mapping[GitSource, ResolvedSource | UnresolvedSource]
#: Lists buckets, those of some URLs by a new look.
BucketSources = Callable[
    [AbstractSet[BucketSource], AbstractSet[str]],
    Mapping[BucketSource, DataListing | UnresolvedSource],
]
#: The commit and tree of each source, or its listing, or the reason that it has none.
Resolutions = Mapping[SourceRequest, FoundSource | UnresolvedSource]


def _source_requests(
    manifest: Manifest, *, repository_url: str, allow: tuple[str, ...]
) -> SourceRequests | None:
    """Return an object's sources, or the reasons against reading them.

    None for an object without a source. The manifest repository itself (``url: .``) is a source
    with an empty URL.
    """
    if manifest.observed is not None:
        bucket = BucketSource(manifest.observed.url, manifest.ref.namespace)
        return {SourceField.OBJECT: bucket}
    return {
        field: _git_request(git, repository_url, allow)
        for field, git in manifest.git_sources.items()
    } or None


def _git_request(
    git: GitSection, repository_url: str, allow: tuple[str, ...]
) -> GitSource | UnresolvedSource:
    if git.url == ".":
        return GitSource(url="", path=git.path)
    try:
        url = resolve_url(repository_url, git.url)
    except GitError as error:
        return unresolved(error)
    if not admits_url(url, allow):
        return UnresolvedSource(Reason.of(ReasonCode.SOURCE_NOT_ALLOWED, url=url))
    return GitSource(url=url, path=git.path, branch=git.branch, tag=git.tag, commit=git.commit)


def remote_sources(requests: Requests) -> frozenset[GitSource]:
    """The requested sources that are in other repositories."""
    return frozenset(r for r in _every(requests) if isinstance(r, GitSource) and r.url)


def bucket_sources(requests: Requests) -> frozenset[BucketSource]:
    """The requested sources that are buckets."""
    return frozenset(r for r in _every(requests) if isinstance(r, BucketSource))


def _every(requests: Requests) -> Iterator[SourceRequest | UnresolvedSource]:
    return (request for each in requests.values() for request in each.values())


def _own_sources(requests: Requests, repository: Repository, commit: Commit) -> GitResolutions:
    """Resolve the sources that are folders of the manifest repository."""
    found: dict[GitSource, ResolvedSource | UnresolvedSource] = {}
    for request in _every(requests):
        if isinstance(request, GitSource) and not request.url and request not in found:
            tree = repository.tree_id(commit, request.path)
            found[request] = (
                ResolvedSource(commit, tree)
                if tree is not None
                else UnresolvedSource(
                    Reason.of(ReasonCode.SOURCE_FOLDER_MISSING, path=request.path)
                )
            )
    return found


def _or_recorded(
    found: Resolutions,
    manifests: Mapping[ObjectRef, Manifest],
    requests: Requests,
    records: Mapping[ObjectRef, ObjectStatus],
) -> dict[SourceRequest, FoundSource | UnresolvedSource]:
    """Replace unresolved sources by their recorded state, if of the same URL.

    A source that the daemon could not read either stays unresolved, for the recorded reason.
    """
    every = dict(found)
    asked = ((ref, *each) for ref, fields in requests.items() for each in fields.items())
    for ref, field, request in asked:
        record = records.get(ref)
        if isinstance(request, UnresolvedSource) or record is None:
            continue
        if not isinstance(every.get(request, _UNKNOWN), UnresolvedSource):
            continue
        known = record.source_of(field)
        if field is _unread(record, manifests[ref]):
            every[request] = UnresolvedSource(Reason.read(record.reason, record.message))
        elif known is not None and known.url == request.url:
            bucket = isinstance(request, BucketSource)
            state = known.listing if bucket else known.resolved
            every[request] = state or every.get(request, _UNKNOWN)
    return every


def _unread(record: ObjectStatus, manifest: Manifest) -> SourceField | None:
    """Return the field of the source that the daemon could not read.

    Without its own source an object has no key. So one with a key lacks that of its evaluation.
    """
    digest = record.manifest.digest if record.manifest is not None else ""
    if record.reason != ReasonCode.SOURCE_UNAVAILABLE or digest != manifest.digest:
        return None
    return SourceField.OBJECT if record.desired is None else SourceField.EVALUATION


_UNKNOWN = UnresolvedSource(Reason.of(ReasonCode.SOURCE_NOT_RESOLVED))


def _with_upstream(
    refs: Iterable[ObjectRef], manifests: Mapping[ObjectRef, Manifest]
) -> frozenset[ObjectRef]:
    """Return the objects and all that they refer to, directly or not."""
    found: set[ObjectRef] = set()
    waiting = list(refs)
    while waiting:
        ref = waiting.pop()
        if ref in found or ref not in manifests:
            continue
        found.add(ref)
        references = manifests[ref].references
        waiting.extend(target for target, _, _ in references if isinstance(target, ObjectRef))
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class SourceResolver:
    """Resolves the sources of a commit's objects.

    ``remote`` resolves sources in other repositories; its second argument has the URLs to look up
    again. ``buckets`` lists those that are observed buckets. ``recorded``: unreadable sources are
    taken as they were last recorded, for previews of a plan.
    """

    repository: Repository
    repository_url: str
    allow: tuple[str, ...]
    remote: RemoteSources = lambda *_: {}
    buckets: BucketSources = lambda *_: {}
    recorded: bool = False

    def resolve(
        self,
        manifests: Mapping[ObjectRef, Manifest],
        commit: Commit,
        records: Mapping[ObjectRef, ObjectStatus],
        cache: PlanCache,
    ) -> tuple[Requests, Resolutions]:
        """Return each object's requested sources, and each source's state.

        Sources of objects that a new head touches or whose artifacts those use are looked up
        again: their code may have been pushed just before. May take as long as remotes take to
        answer.
        """
        touched: list[ObjectRef] = []

        def request(ref: ObjectRef, manifest: Manifest) -> SourceRequests | None:
            touched.append(ref)
            return _source_requests(manifest, repository_url=self.repository_url, allow=self.allow)

        def own(_: object) -> GitResolutions:
            return _own_sources(requests, self.repository, commit)

        requests: Requests = cache.table("source requests", manifests, request)
        remote = cache.value("remote sources", (requests,), lambda _: remote_sources(requests))
        asked = (requests.get(ref, {}) for ref in _with_upstream(touched, manifests))
        refresh = {
            request.url
            for each in asked
            for request in each.values()
            if isinstance(request, GitSource | BucketSource)
        }
        buckets = cache.value("bucket sources", (requests,), lambda _: bucket_sources(requests))
        inside: GitResolutions = cache.value("own sources", (requests, commit), own)
        listed = self.buckets(buckets, refresh) if buckets else {}
        found: Resolutions = dict(
            chain(inside.items(), self.remote(remote, refresh).items(), listed.items())
        )
        if self.recorded:
            found = _or_recorded(found, manifests, requests, records)
        return requests, cache.same("sources", found)
