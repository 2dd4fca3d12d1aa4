"""A read commit and what is known, made into a plan: the same for the daemon and for ``plan``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from reconciler.daemon.reading import Head, Reader
from reconciler.git.errors import GitError
from reconciler.git.mirror import Repository
from reconciler.git.url import matches, resolve_url
from reconciler.manifests.read import Manifest
from reconciler.planner.decide import decide
from reconciler.planner.desire import desire
from reconciler.planner.ledger import Ledger
from reconciler.planner.plan import Plan, Settings, Situation
from reconciler.planner.record import Record
from reconciler.run import Capacity, Run
from reconciler.types import GitSource, ObjectRef, ResolvedSource, UnresolvedSource

Requests = Mapping[ObjectRef, GitSource | UnresolvedSource]
Resolutions = Mapping[GitSource, ResolvedSource | UnresolvedSource]


def effective(
    head: Head, reader: Reader, records: Mapping[ObjectRef, Record]
) -> dict[ObjectRef, Manifest]:
    """The objects at head; one whose manifest is wrong there stands in its last good form."""
    objects = dict(head.collection.objects)
    for ref in head.invalid:
        record = records.get(ref)
        good = reader.last_good(record) if record is not None else None
        if good is not None:
            objects[ref] = good
    return objects


def source_requests(
    objects: Mapping[ObjectRef, Manifest], *, repository_url: str, allow: tuple[str, ...]
) -> dict[ObjectRef, GitSource | UnresolvedSource]:
    """What each object's Git source resolves to, or why it may not be read.

    The manifest repository itself (``url: .``) is a source with an empty URL.
    """
    requests: dict[ObjectRef, GitSource | UnresolvedSource] = {}
    for ref, manifest in objects.items():
        git = manifest.document.spec.source.git
        if git is None:
            continue
        if git.url == ".":
            requests[ref] = GitSource(url="", path=git.path)
            continue
        try:
            url = resolve_url(repository_url, git.url)
        except GitError as error:
            requests[ref] = UnresolvedSource(str(error))
            continue
        if not matches(url, allow):
            requests[ref] = UnresolvedSource(f"the source {url} is not in sources.allow")
            continue
        requests[ref] = GitSource(
            url=url, path=git.path, branch=git.branch, tag=git.tag, commit=git.commit
        )
    return requests


def own_sources(requests: Requests, repository: Repository, head: Head) -> Resolutions:
    """Where the sources that are folders of the manifest repository stand at head."""
    found: dict[GitSource, ResolvedSource | UnresolvedSource] = {}
    for request in requests.values():
        if isinstance(request, GitSource) and not request.url and request not in found:
            tree = repository.tree_id(head.commit, request.path)
            found[request] = (
                ResolvedSource(head.commit, tree)
                if tree is not None
                else UnresolvedSource(f"{request.path} is not a folder of this repository at head")
            )
    return found


def make_plan(
    *,
    head: Head,
    objects: Mapping[ObjectRef, Manifest],
    requests: Requests,
    resolutions: Resolutions,
    records: Mapping[ObjectRef, Record],
    ledger: Ledger,
    runs: Mapping[str, Run],
    capacity: Capacity,
    settings: Settings,
    now: datetime,
    recorded: frozenset[str] = frozenset(),
) -> Plan:
    """The plan of a sync of head."""
    desired = desire(
        cluster=settings.cluster,
        objects=objects,
        sources=resolutions,
        requests=requests,
        records=records,
        ledger=ledger,
    )
    return decide(
        Situation(
            settings=settings,
            head=head.commit,
            desired=desired,
            invalid=head.invalid,
            documents=head.documents,
            unreadable=head.unreadable,
            records=records,
            ledger=ledger,
            runs=runs,
            capacity=capacity,
            released=head.released,
            now=now,
            recorded=recorded,
        )
    )
