"""A read commit and what is known, made into a plan: the same for the daemon and for ``plan``."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from reconciler.engine import Capacity, Run
from reconciler.git.allow import matches
from reconciler.git.errors import GitError
from reconciler.git.repository import Repository
from reconciler.git.url import resolve_url
from reconciler.manifests.loader import Manifest
from reconciler.planner import (
    Ledger,
    ObjectStatus,
    Plan,
    PlanCache,
    PlanInput,
    PlannerConfig,
    RemoteStatus,
    ResolverCache,
    diff,
    resolve,
)
from reconciler.reasons import Reason, ReasonCode, UnresolvedSource
from reconciler.types import GitSource, ObjectRef, Problem, ResolvedSource
from reconciler.workspace.commit_reader import Head, Reader

Requests = Mapping[ObjectRef, GitSource | UnresolvedSource]
Resolutions = Mapping[GitSource, ResolvedSource | UnresolvedSource]


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects at head. One whose manifest is wrong there stands in its last good form.

    ``wrong`` has the first problem of each of those, and of those that never were right.
    """

    manifests: Mapping[ObjectRef, Manifest]
    wrong: Mapping[ObjectRef, Problem]


def effective(head: Head, reader: Reader, records: Mapping[ObjectRef, ObjectStatus]) -> Objects:
    """What head says, and for what it says wrongly, what was said last."""
    if not head.collection.problems:
        return Objects(head.collection.objects, {})
    manifests = dict(head.collection.objects)
    wrong: dict[ObjectRef, Problem] = {}
    by_file: dict[str, Problem] = {}
    for problem in head.collection.problems:
        if problem.object is not None:
            wrong.setdefault(problem.object, problem)
        else:
            by_file.setdefault(problem.location.file, problem)
    if by_file:
        # Nobody can tell whose such a document is: it counts for all that came from its file.
        for ref, record in records.items():
            path = record.manifest.path if record.manifest else ""
            if path in by_file and ref not in manifests:
                wrong.setdefault(ref, by_file[path])
    for ref in wrong.keys() & records.keys():
        good = reader.last_good(records[ref])
        if good is not None:
            manifests[ref] = good
    return Objects(manifests, wrong)


def source_requests(
    objects: Mapping[ObjectRef, Manifest], *, repository_url: str, allow: tuple[str, ...]
) -> dict[ObjectRef, GitSource | UnresolvedSource]:
    """What each object's Git source resolves to, or why it may not be read; in their order."""
    found = (
        (ref, source_request(manifest, repository_url=repository_url, allow=allow))
        for ref, manifest in objects.items()
    )
    return {ref: request for ref, request in found if request is not None}


def source_request(
    manifest: Manifest, *, repository_url: str, allow: tuple[str, ...]
) -> GitSource | UnresolvedSource | None:
    """What an object's Git source resolves to, or why it may not be read; None without one.

    The manifest repository itself (``url: .``) is a source with an empty URL.
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
    if not matches(url, allow):
        return UnresolvedSource(Reason.of(ReasonCode.SOURCE_NOT_ALLOWED, url=url))
    return GitSource(url=url, path=git.path, branch=git.branch, tag=git.tag, commit=git.commit)


def own_sources(requests: Requests, repository: Repository, head: Head) -> Resolutions:
    """Where the sources that are folders of the manifest repository stand at head."""
    found: dict[GitSource, ResolvedSource | UnresolvedSource] = {}
    for request in requests.values():
        if isinstance(request, GitSource) and not request.url and request not in found:
            tree = repository.tree_id(head.commit, request.path)
            found[request] = (
                ResolvedSource(head.commit, tree)
                if tree is not None
                else UnresolvedSource(
                    Reason.of(ReasonCode.SOURCE_FOLDER_MISSING, path=request.path)
                )
            )
    return found


def as_recorded(
    found: Resolutions, requests: Requests, records: Mapping[ObjectRef, ObjectStatus]
) -> Resolutions:
    """Where sources stand; as last recorded, where they cannot be read now."""
    every = dict(found)
    for ref, request in requests.items():
        record = records.get(ref)
        if not isinstance(request, GitSource) or record is None or record.source is None:
            continue
        now = every.get(request)
        if not isinstance(now, ResolvedSource) and record.source.url == request.url:
            every[request] = ResolvedSource(record.source.commit, record.source.tree)
    return every


def make_plan(
    *,
    head: Head,
    objects: Objects,
    requests: Requests,
    resolutions: Resolutions,
    records: Mapping[ObjectRef, ObjectStatus],
    ledger: Ledger,
    runs: Mapping[str, Run],
    capacity: Capacity,
    settings: PlannerConfig,
    now: datetime,
    peers: RemoteStatus = MappingProxyType({}),
    ahead: bool = False,
    recorded: Container[str] = frozenset(),
    memo: ResolverCache | None = None,
    settled: PlanCache = PlanCache(),  # noqa: B008 -- it is frozen
) -> Plan:
    """The plan of a sync of head; ``ahead``, of one that may come when other clusters moved on.

    ``memo`` and ``settled`` are what earlier plans of this daemon have left.
    """
    desired = resolve(
        cluster=settings.cluster,
        objects=objects.manifests,
        sources=resolutions,
        requests=requests,
        records=records,
        ledger=ledger,
        allowed=settings.peers,
        peers=peers,
        ahead=ahead,
        memo=memo,
    )
    return diff(
        PlanInput(
            settings=settings,
            head=head.commit,
            desired=desired,
            invalid={ref: str(problem) for ref, problem in objects.wrong.items()},
            documents=head.documents,
            unreadable=head.unreadable,
            records=records,
            ledger=ledger,
            runs=runs,
            capacity=capacity,
            released=head.released,
            now=now,
            recorded=recorded,
            settled=settled,
        )
    )
