"""Plans of pull requests on the daemon's own state, and their text.

Nothing of them is run. A plan is of the commit that a merge would make, compared with the plan of
the branch as it is: the output of ``reconciler plan``. It is made beside the syncs, on copies of
the daemon's state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from reconciler.config import Setup
from reconciler.git import Conflict, LocalRepository, Proposals, Sources, redact
from reconciler.manifests import Manifest
from reconciler.planner import PlanCache, RemoteStatus, desired_keys_of, plan_doubts
from reconciler.reasons import Reason, ReasonCode, UnresolvedSource
from reconciler.review import (
    CommitState,
    CommitStatus,
    Review,
    code,
    make_status,
    prose,
    render_markdown,
    review,
    status_of,
)
from reconciler.status import CollectionReport, collection_markdown
from reconciler.types import Commit, GitSource, ObjectRef, ResolvedSource, TaskKey
from reconciler.workspace import (
    CommitPlanner,
    CommitReader,
    GitResolutions,
    PlanState,
    RefusedCommit,
    RemoteReader,
    RemoteStatusReader,
    SourceResolver,
    credential_table,
    git_folder,
    head_verification,
    remote_sources,
    source_reader,
)

#: Seconds that a plan waits for sources; slower ones are as last recorded, or unknown.
_PATIENCE = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonState:
    """A copy of the daemon's state; ``head`` is its last read commit.

    ``collection`` is the result of the last collection.
    """

    head: Commit
    state: PlanState
    collection: CollectionReport | None = None


class PullRequestPlanner:
    """Plans pull requests.

    To be used from one thread at a time; its calls may take minutes.
    """

    def __init__(self, setup: Setup) -> None:
        config = setup.config
        assert config.review is not None
        folder = git_folder(setup)
        self.proposals = Proposals(
            folder / "proposals.git",
            setup.repository_url,
            branch=config.repository.branch,
            credentials=credential_table(setup),
        )
        self._sources = ApprovedSources(
            source_reader(setup, patience=_PATIENCE, folder="proposals-sources"),
            any_source=config.review.sources == "any",
        )
        self._verification = head_verification(setup, self.proposals)
        self._mirror = folder / "manifests.git"
        self._branches = setup.cluster_branches
        self._planner = planner_of_heads(
            setup, self.proposals, self._sources, self._read_remote_clusters, ahead=True
        )

    def review(self, known: DaemonState, head: Commit) -> Review | Conflict:
        """Plan the merge of a fetched head. Raises GitError."""
        self.proposals.fetch_base(known.head)
        merged = self.proposals.merged(known.head, head)
        if isinstance(merged, Conflict):
            return merged
        planner, records = self._planner, known.state.records
        state = replace(known.state, now=datetime.now(UTC))
        old, new = planner.read(known.head), planner.read(merged)
        self._sources.approved = None  # all sources of the branch itself are
        base = planner.resolve(old, records)
        recorded = {source.url for record in records.values() for source in record.sources}
        self._sources.approved = {s.url for s in remote_sources(base.requests)} | recorded
        before = planner.plan(base, state)
        after = planner.plan(planner.resolve(new, records), state)
        found = review(after.plan, before=before.plan, errors=after.resolved.objects.errors)
        return replace(found, head=head)  # the commit of the merge exists nowhere else

    def refusal(self, known: DaemonState, head: Commit) -> RefusedCommit | None:
        """Return a fetched head's first unverified commit. Raises GitError."""
        found = self._verification
        return found.refusal(head, known.head) if found is not None else None

    def _read_remote_clusters(
        self, manifests: Mapping[ObjectRef, Manifest], cache: PlanCache
    ) -> RemoteStatus:
        mirror = LocalRepository.open(self._mirror)
        return RemoteStatusReader.local(mirror, self._branches).read(manifests, cache)


class ApprovedSources:
    """Sources that were approved by merging a manifest that names them.

    No other is contacted, unless the configuration allows it: the author of any pull request
    could otherwise have the daemon contact any host, with the credentials configured for it.
    ``approved`` has the URLs; None: all.
    """

    def __init__(self, sources: Sources, *, any_source: bool) -> None:
        self._sources = sources
        self._any_source = any_source
        self.approved: AbstractSet[str] | None = frozenset()

    def resolve(self, requested: AbstractSet[GitSource], _: AbstractSet[str]) -> GitResolutions:
        """Resolve approved sources; others have the reason that they are new."""
        everything = self._any_source or self.approved is None
        allowed = {s for s in requested if everything or s.url in (self.approved or ())}
        found: dict[GitSource, ResolvedSource | UnresolvedSource] = {}
        found |= self._sources.resolve(allowed)
        for source in requested - allowed:
            found[source] = UnresolvedSource(
                Reason.of(ReasonCode.SOURCE_NOT_APPROVED, url=redact(source.url))
            )
        return found


def planner_of_heads(
    setup: Setup,
    heads: Proposals,
    sources: ApprovedSources,
    remote: RemoteReader,
    *,
    ahead: bool = False,
) -> CommitPlanner:
    """Return a planner of heads that are not synced.

    Sources are looked up if approved, else as recorded. ``ahead``: the plans are of a sync to come.
    """
    return CommitPlanner(
        CommitReader.from_setup(heads, setup),
        settings=setup.settings,
        sources=SourceResolver(
            heads,
            setup.repository_url,
            setup.sources_allow,
            remote=sources.resolve,
            recorded=True,
        ),
        remote=remote,
        ahead=ahead,
    )


@dataclass(frozen=True, slots=True)
class AskedKeys:
    """The keys that a head asks for, and the first doubt."""

    keys: frozenset[TaskKey] = frozenset()
    doubt: Reason | None = None

    @classmethod
    def of(cls, found: Review | Conflict) -> AskedKeys:
        """Return those of a pull request; of a conflict only a doubt."""
        if isinstance(found, Conflict) or found.plan is None:
            conflict = Reason.of(ReasonCode.COLLECTION_CONFLICT)
            return cls(doubt=conflict)
        # Of what the request does not change, the plan of the branch itself has the doubts.
        changed = {each.ref for each in found.objects}
        doubt = next(plan_doubts(found.plan, changed), None)
        return cls(frozenset(key for key, _ in desired_keys_of(found.plan)), doubt)


# -- text --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PullRequestReport:
    """A commit status and a comment.

    ``notable``: worth a comment where there is none yet. ``digest`` is that of the body without the
    base: that a plan is the same on a newer commit of the branch is no reason to edit a hundred
    comments.
    """

    status: CommitStatus
    body: str
    notable: bool
    digest: str

    @classmethod
    def of(
        cls, status: CommitStatus, body: str, *, notable: bool = False, same: str | None = None
    ) -> PullRequestReport:
        """Make a report.

        ``same`` is the body to take the digest of, if it is another one.
        """
        digest = hashlib.sha256((body if same is None else same).encode()).hexdigest()[:40]
        return cls(status, body, notable, digest)

    def comment(self, setup: Setup) -> str:
        """Return the comment; forges hide its first and last line."""
        return f"{marker_of(setup)}\n{self.body}\n\n<!-- {self.digest} -->"

    def is_in(self, comment: str) -> bool:
        """Return whether a comment has this report."""
        return comment.rstrip().endswith(f"<!-- {self.digest} -->")


def marker_of(setup: Setup) -> str:
    """The first line of this daemon's comments, which forges do not show."""
    return f"<!-- reconciler plan of cluster {setup.config.cluster} -->"


def report_of(
    setup: Setup,
    found: Review | Conflict,
    refused: RefusedCommit | None = None,
    collection: CollectionReport | None = None,
) -> PullRequestReport:
    """Report a plan, or the conflict that prevents one.

    Artifacts that a ``collection`` takes are listed where the request concerns their objects.

    With ``refused``, a commit of the request is not verified. That is a failure where every commit
    has to be. Where the head of the branch has to be, that head is the commit of the merge.
    """
    cluster, branch = setup.config.cluster, setup.config.repository.branch
    if isinstance(found, Conflict):
        message = f"It conflicts with {branch} in {', '.join(found.paths)}"
        paths = ", ".join(code(path, 160) for path in found.paths)
        body = f"### Plan\n\nIt conflicts with {code(branch)} in {paths}; mended, it is planned."
        return PullRequestReport.of(make_status(CommitState.FAILURE, message), body)
    status, more, verify = status_of(found), "", setup.config.repository.verify
    if refused is not None and verify is not None:
        more = f"\n\n**Not verified:** {prose(str(refused))}."
        if verify.mode == "every":
            status = make_status(CommitState.FAILURE, f"Not verified: {refused}")
        else:
            more += " The commit of the merge has to be signed."
    notable = bool(found.objects or found.errors or found.holds or found.released or more)
    going = collection_markdown(collection, {each.ref for each in found.objects})
    more += f"\n\n{going}" if going and notable else ""
    title = f"Plan for cluster {code(cluster)}"
    return PullRequestReport.of(
        status,
        render_markdown(found, title) + more,
        notable=notable,
        same=render_markdown(replace(found, base=Commit("")), title) + more,
    )


def unplannable(
    message: str = "It cannot be planned; the daemon's log says why",
) -> PullRequestReport:
    """Report a failed plan.

    Its cause may describe this machine, so only the log has it.
    """
    body = f"### Plan\n\n{message}."
    return PullRequestReport.of(make_status(CommitState.ERROR, message), body)
