"""Git sources of manifests, resolved to commits and trees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Protocol

from reconciler.git import GitError, Repository, Sources, resolve_url
from reconciler.manifests import Manifest
from reconciler.patterns import admits_url
from reconciler.planner import ObjectStatus, differing, same_keys
from reconciler.reasons import Reason, ReasonCode, UnresolvedSource
from reconciler.types import Commit, GitSource, ObjectRef, ResolvedSource
from reconciler.workspace.commit_reader import CommitSnapshot

#: The source that each object asks for, or the reason that it may not be read.
Requests = Mapping[ObjectRef, GitSource | UnresolvedSource]
#: The commit and tree of each source, or the reason that it has none.
Resolutions = Mapping[GitSource, ResolvedSource | UnresolvedSource]
Manifests = Mapping[ObjectRef, Manifest]


class SourceResolver(Protocol):
    """Resolves the Git sources of a commit's objects."""

    def resolve(
        self,
        manifests: Manifests,
        snapshot: CommitSnapshot,
        records: Mapping[ObjectRef, ObjectStatus],
    ) -> tuple[Requests, Resolutions]:
        """Return each object's requested source, and each source's state."""
        ...


def source_requests(
    manifests: Manifests, *, repository_url: str, allow: tuple[str, ...]
) -> dict[ObjectRef, GitSource | UnresolvedSource]:
    """Return each object's requested source, in the order of ``manifests``."""
    found = (
        (ref, _source_request(manifest, repository_url=repository_url, allow=allow))
        for ref, manifest in manifests.items()
    )
    return {ref: request for ref, request in found if request is not None}


def _source_request(
    manifest: Manifest, *, repository_url: str, allow: tuple[str, ...]
) -> GitSource | UnresolvedSource | None:
    """Return an object's Git source, or the reason against reading it.

    None for an object without a source. The manifest repository itself (``url: .``) is a source
    with an empty URL.
    """
    git = manifest.git
    if git is None:
        return None
    if git.url == ".":
        return GitSource(url="", path=git.path)
    try:
        url = resolve_url(repository_url, git.url)
    except GitError as error:
        return UnresolvedSource.unavailable(str(error))
    if not admits_url(url, allow):
        return UnresolvedSource(Reason.of(ReasonCode.SOURCE_NOT_ALLOWED, url=url))
    return GitSource(url=url, path=git.path, branch=git.branch, tag=git.tag, commit=git.commit)


def remote_sources(requests: Requests) -> frozenset[GitSource]:
    """The requested sources that are in other repositories."""
    return frozenset(r for r in requests.values() if isinstance(r, GitSource) and r.url)


def own_sources(requests: Requests, repository: Repository, commit: Commit) -> Resolutions:
    """Resolve the sources that are folders of the manifest repository."""
    found: dict[GitSource, ResolvedSource | UnresolvedSource] = {}
    for request in requests.values():
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
    found: Resolutions, requests: Requests, records: Mapping[ObjectRef, ObjectStatus]
) -> Resolutions:
    """Replace unresolved sources by their recorded state, if of the same URL."""
    every = dict(found)
    for ref, request in requests.items():
        record = records.get(ref)
        if not isinstance(request, GitSource) or record is None or record.source is None:
            continue
        now = every.get(request)
        if not isinstance(now, ResolvedSource) and record.source.url == request.url:
            every[request] = ResolvedSource(record.source.commit, record.source.tree)
    return every


@dataclass(frozen=True, slots=True)
class RecordedSourceResolver:
    """Resolves sources, unreadable ones as they were last recorded.

    Made for previews of a plan. ``remote`` resolves sources in other repositories.
    """

    repository: Repository
    repository_url: str
    allow: tuple[str, ...]
    remote: Callable[[AbstractSet[GitSource]], Resolutions] = lambda _: {}

    def resolve(
        self,
        manifests: Manifests,
        snapshot: CommitSnapshot,
        records: Mapping[ObjectRef, ObjectStatus],
    ) -> tuple[Requests, Resolutions]:
        """Resolve all sources anew."""
        requests = source_requests(manifests, repository_url=self.repository_url, allow=self.allow)
        found = dict(own_sources(requests, self.repository, snapshot.commit))
        found |= self.remote(remote_sources(requests))
        return requests, _or_recorded(found, requests, records)


@dataclass(frozen=True, slots=True)
class _Requested:
    """The last manifests, and the sources that they ask for."""

    manifests: Manifests = field(default_factory=dict)
    requests: Requests = field(default_factory=dict)
    remote: frozenset[GitSource] = frozenset()


def _with_upstream(refs: Iterable[ObjectRef], manifests: Manifests) -> frozenset[ObjectRef]:
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


class IncrementalSourceResolver:
    """Resolves sources sync after sync; only what differs is worked out again."""

    def __init__(
        self,
        repository: Repository,
        sources: Sources,
        *,
        repository_url: str,
        allow: tuple[str, ...],
    ) -> None:
        self._url = repository_url
        self._allow = allow
        self._repository = repository
        self._sources = sources
        self._requested = _Requested()
        self._own: tuple[Commit | None, Requests, Resolutions] = None, {}, {}
        self._found: Resolutions = {}

    def resolve(
        self, manifests: Manifests, snapshot: CommitSnapshot, _: Mapping[ObjectRef, ObjectStatus]
    ) -> tuple[Requests, Resolutions]:
        """Resolve sources; unchanged results are the very same objects.

        Sources of objects that a new head touches or whose artifacts those use are looked up
        again: their code may have been pushed just before. May take as long as remotes take to
        answer, within the patience of ``sources``.
        """
        touched: AbstractSet[ObjectRef] = frozenset()
        if self._requested.manifests is not manifests:
            touched = _with_upstream(differing(self._requested.manifests, manifests), manifests)
            requests = self._amended(manifests)
            if requests is None:
                requests = source_requests(manifests, repository_url=self._url, allow=self._allow)
            self._requested = _Requested(manifests, requests, remote_sources(requests))
        requests = self._requested.requests
        if self._own[0] != snapshot.commit or self._own[1] is not requests:
            own = own_sources(requests, self._repository, snapshot.commit)
            self._own = snapshot.commit, requests, own
        asked = (requests.get(ref) for ref in touched)
        refresh = {request.url for request in asked if isinstance(request, GitSource)}
        remote = self._sources.resolve(self._requested.remote, refresh=refresh)
        found = {**self._own[2], **remote}
        if found != self._found:
            self._found = found
        return requests, self._found

    def _amended(self, manifests: Manifests) -> Requests | None:
        """Amend the last requests; None where other objects have sources now."""
        before = self._requested
        if not same_keys(before.manifests, manifests):
            return None
        now = {
            ref: _source_request(manifests[ref], repository_url=self._url, allow=self._allow)
            for ref in differing(before.manifests, manifests)
        }
        if any((request is None) != (ref not in before.requests) for ref, request in now.items()):
            return None
        new = {
            ref: request
            for ref, request in now.items()
            if request is not None and request != before.requests[ref]
        }
        return {**before.requests, **new} if new else before.requests
