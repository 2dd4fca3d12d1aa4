"""What merging a proposal would do, worked out on what the daemon knows. Nothing of it is run.

A plan is of the commit that a merge would make, held against that of the branch as it is: what
``reconciler plan`` shows, on the daemon's own state. It is made beside the syncs, on copies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from reconciler.config.model import Setup
from reconciler.engine import Capacity, Run
from reconciler.git.errors import redact
from reconciler.git.pull_request_refs import Conflict, Proposals
from reconciler.git.repository import LocalRepository
from reconciler.planner import Ledger, ObjectStatus, Plan, ResolverCache
from reconciler.reasons import Reason, ReasonCode, UnresolvedSource
from reconciler.review import Review, review
from reconciler.types import Commit, GitSource, ObjectRef
from reconciler.workspace.commit_reader import Head, Reader
from reconciler.workspace.git_remotes import credential_table, source_reader
from reconciler.workspace.planning import (
    Requests,
    Resolutions,
    as_recorded,
    effective,
    make_plan,
    own_sources,
    source_requests,
)
from reconciler.workspace.remote_clusters import PeerReader, foreign_references

#: Seconds that a plan waits for sources; what takes longer is as last recorded, or unknown.
_PATIENCE = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What the daemon knows at one moment, as copies that nobody changes."""

    head: Commit
    records: Mapping[ObjectRef, ObjectStatus]
    ledger: Ledger
    runs: Mapping[str, Run]
    capacity: Capacity


class Reviewer:
    """Plans proposals. To be used from one thread at a time; its calls may take minutes."""

    def __init__(self, setup: Setup) -> None:
        config = setup.config
        assert config.review is not None
        self._setup = setup
        self._any_source = config.review.sources == "any"
        folder = setup.root / "git"
        self.proposals = Proposals(
            folder / "proposals.git",
            setup.repository_url,
            branch=config.repository.branch,
            credentials=credential_table(setup),
        )
        self._sources = source_reader(setup, patience=_PATIENCE, folder="proposals-sources")
        self._mirror = folder / "manifests.git"
        self._memo = ResolverCache()
        self._reader = Reader(
            self.proposals,
            path=config.repository.path,
            namespace=config.kubernetes.namespace,
            clusters=config.clusters,
        )

    def review(self, known: Knowledge, head: Commit) -> Review | Conflict:
        """The plan of merging a head that was fetched. Raises GitError."""
        self.proposals.fetch_base(known.head)
        merged = self.proposals.merged(known.head, head)
        if isinstance(merged, Conflict):
            return merged
        now = datetime.now(UTC)
        old = self._reader.read(known.head)
        new = self._reader.read(merged)
        planning = _Planning(self._setup, known, self._reader, self._memo, self._mirror, now)
        named = self._named(planning.requests(old), known)

        def look_up(requests: Requests, at: Head) -> Resolutions:
            return self._resolve(requests, at, named)

        before, after = planning.plan(old, look_up), planning.plan(new, look_up)
        found = review(after, before=before, errors=new.collection.problems)
        return replace(found, head=head)  # nobody else knows the commit of the merge

    def _named(self, requests: Requests, known: Knowledge) -> frozenset[str]:
        """The URLs of sources that somebody has approved of, by merging a manifest that names them.

        No other is talked to, unless the configuration says so: whoever may open a pull request
        could otherwise have the daemon ask any host, with whatever credentials are for it.
        """
        asked = {r.url for r in requests.values() if isinstance(r, GitSource)}
        recorded = {r.source.url for r in known.records.values() if r.source is not None}
        return frozenset(asked | recorded)

    def _resolve(self, requests: Requests, at: Head, named: frozenset[str]) -> Resolutions:
        found = dict(own_sources(requests, self.proposals, at))
        remote = {r for r in requests.values() if isinstance(r, GitSource) and r.url}
        asked = {r for r in remote if self._any_source or r.url in named}
        found |= self._sources.resolve(asked)
        for request in remote - asked:
            found[request] = UnresolvedSource(
                Reason.of(ReasonCode.SOURCE_NOT_APPROVED, url=redact(request.url))
            )
        return found


@dataclass(slots=True)
class _Planning:
    """Plans commits on one state."""

    setup: Setup
    known: Knowledge
    reader: Reader
    memo: ResolverCache
    mirror: Path
    now: datetime

    def requests(self, head: Head) -> Requests:
        objects = effective(head, self.reader, self.known.records).manifests
        setup = self.setup
        return source_requests(
            objects, repository_url=setup.repository_url, allow=setup.sources_allow
        )

    def plan(self, head: Head, look_up: Callable[[Requests, Head], Resolutions]) -> Plan:
        known = self.known
        objects = effective(head, self.reader, known.records)
        requests = self.requests(head)
        branches = self.setup.peer_branches
        mirror = LocalRepository.open(self.mirror)
        tips = {name: mirror.status_branch(name) for name in branches.values()}
        return make_plan(
            head=head,
            objects=objects,
            requests=requests,
            resolutions=as_recorded(look_up(requests, head), requests, known.records),
            records=known.records,
            ledger=known.ledger,
            runs=known.runs,
            capacity=known.capacity,
            settings=self.setup.settings,
            now=self.now,
            peers=PeerReader(mirror, branches).read(foreign_references(objects.manifests), tips),
            ahead=True,
            memo=self.memo,
        )
