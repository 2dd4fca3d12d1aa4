"""The one way from a commit to its plan: read, resolve, plan.

The daemon, the planner of pull requests and the command line each build one
:class:`CommitPlanner`, and differ in the strategies that they give it::

    snapshot = planner.read(commit)
    resolved = planner.resolve(snapshot, records)
    planned = planner.plan(resolved, PlanState(records=records, ...))
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime

from reconciler.engine import Capacity, Run
from reconciler.manifests import Manifest
from reconciler.planner import (
    Ledger,
    ObjectStatus,
    Plan,
    PlanCache,
    PlanInput,
    PlannerConfig,
    RemoteStatus,
    ResolverCache,
    make_plan,
    resolve,
    update_cache,
)
from reconciler.types import Commit, ObjectRef
from reconciler.workspace.commit_reader import CommitReader, CommitSnapshot, EffectiveObjects
from reconciler.workspace.source_resolver import Requests, Resolutions, SourceResolver

#: Reads the status of the objects of other clusters that manifests refer to.
RemoteReader = Callable[[Mapping[ObjectRef, Manifest]], RemoteStatus]


def no_remote_clusters(_: Mapping[ObjectRef, Manifest]) -> RemoteStatus:
    """The remote reader of a repository that no other cluster shares."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanState:
    """Everything that a plan depends on beside the commit and the configuration.

    ``recorded`` has the names of the runs whose outcome is on the status branch.
    """

    records: Mapping[ObjectRef, ObjectStatus]
    ledger: Ledger
    runs: Mapping[str, Run]
    capacity: Capacity
    recorded: Container[str] = frozenset()
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedCommit:
    """A commit's objects, their sources and the remote clusters' status."""

    snapshot: CommitSnapshot
    objects: EffectiveObjects
    requests: Requests
    resolutions: Resolutions
    remote: RemoteStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCommit:
    """A plan with the resolved commit that it is of."""

    resolved: ResolvedCommit
    plan: Plan

    @property
    def snapshot(self) -> CommitSnapshot:
        """The planned commit as it was read."""
        return self.resolved.snapshot


class CommitPlanner:
    """Reads, resolves and plans commits of one repository.

    ``ahead``: plans are of a sync to come, so what follows another cluster is unknown in them.
    Everything remembered between two plans is kept here, by the reader, the source resolver, and
    the two caches of the planner. One invariant holds for all of it: a plan made with what is
    remembered equals one made from nothing (tests/planner/world.py compares the two at each plan),
    so that remembering changes what a plan costs and nothing else. To be used from one thread at a
    time.
    """

    def __init__(
        self,
        reader: CommitReader,
        *,
        settings: PlannerConfig,
        sources: SourceResolver,
        remote: RemoteReader = no_remote_clusters,
        ahead: bool = False,
    ) -> None:
        self._reader = reader
        self._settings = settings
        self._sources = sources
        self._remote = remote
        self._ahead = ahead
        self._memo = ResolverCache()
        self._settled = PlanCache()

    def read(self, commit: Commit) -> CommitSnapshot:
        """Read a commit. Raises GitError if the repository cannot be read."""
        return self._reader.read(commit)

    def resolve(
        self, snapshot: CommitSnapshot, records: Mapping[ObjectRef, ObjectStatus]
    ) -> ResolvedCommit:
        """Resolve sources, and read the status of other clusters.

        May take as long as remotes take to answer, within the patience of the source resolver.
        """
        objects = self._reader.effective(snapshot, records)
        requests, resolutions = self._sources.resolve(objects.manifests, snapshot, records)
        return ResolvedCommit(
            snapshot=snapshot,
            objects=objects,
            requests=requests,
            resolutions=resolutions,
            remote=self._remote(objects.manifests),
        )

    def plan(self, resolved: ResolvedCommit, state: PlanState) -> PlannedCommit:
        """Plan the sync of a resolved commit. Does no input or output."""
        settings, snapshot, objects = self._settings, resolved.snapshot, resolved.objects
        desired = resolve(
            cluster=settings.cluster,
            objects=objects.manifests,
            sources=resolved.resolutions,
            requests=resolved.requests,
            records=state.records,
            ledger=state.ledger,
            allowed=settings.peers,
            peers=resolved.remote,
            ahead=self._ahead,
            memo=self._memo,
        )
        plan = make_plan(
            PlanInput(
                settings=settings,
                head=snapshot.commit,
                desired=desired,
                invalid={ref: str(problem) for ref, problem in objects.problems.items()},
                documents=snapshot.documents,
                unreadable=snapshot.unreadable,
                records=state.records,
                ledger=state.ledger,
                runs=state.runs,
                capacity=state.capacity,
                released=snapshot.released,
                now=state.now,
                recorded=state.recorded,
                settled=self._settled,
            )
        )
        return PlannedCommit(resolved=resolved, plan=plan)

    def drop_cache(self) -> None:
        """Forget what earlier plans found, as a result was lost."""
        self._memo = ResolverCache()
        self._settled = PlanCache()

    def applied(
        self,
        plan: Plan,
        *,
        records: Mapping[ObjectRef, ObjectStatus],
        changed: AbstractSet[ObjectRef],
    ) -> None:
        """Note that a plan was applied.

        Later plans skip the objects that it showed unchanged. ``changed`` are the objects whose
        record the plan changed.
        """
        self._settled = update_cache(plan, records=records, changed=changed)
