"""The one way from a commit to its plan: read, resolve, plan.

The daemon, the planner of pull requests and the command line each build one
:class:`CommitPlanner`, and differ in the strategies that they give it::

    snapshot = planner.read(commit)
    resolved = planner.resolve(snapshot, records)
    planned = planner.plan(resolved, PlanState(records=records, ...))
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    ReportedTasks,
    make_plan,
    resolve,
)
from reconciler.types import Commit, ObjectRef, Problem
from reconciler.workspace.commit_reader import CommitReader, CommitSnapshot, EffectiveObjects
from reconciler.workspace.source_resolver import Requests, Resolutions, SourceResolver

#: Reads the status of the objects of other clusters that manifests refer to.
RemoteReader = Callable[[Mapping[ObjectRef, Manifest], PlanCache], RemoteStatus]


def no_remote_clusters(*_: object) -> RemoteStatus:
    """The remote reader of a repository that no other cluster shares."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanState:
    """Everything that a plan depends on beside the commit and the configuration.

    ``recorded`` has the names of the runs whose outcome is on the status branch. ``reported`` are
    recorded tasks whose reason only a daemon's engine knows.
    """

    records: Mapping[ObjectRef, ObjectStatus]
    ledger: Ledger
    runs: Mapping[str, Run]
    capacity: Capacity
    recorded: Container[str] = frozenset()
    reported: ReportedTasks = field(default_factory=dict)
    now: datetime

    def copy(self) -> PlanState:
        """Return a copy to plan on beside the syncs.

        They go on changing this one. Plans on the copy end no recorded runs.
        """
        return replace(
            self,
            records=dict(self.records),
            ledger=self.ledger.copy(),
            runs=dict(self.runs),
            recorded=frozenset(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedCommit:
    """A commit's objects, their sources and the remote clusters' status."""

    snapshot: CommitSnapshot
    objects: EffectiveObjects
    requests: Requests
    resolutions: Resolutions
    remote: RemoteStatus

    def with_errors(self, problems: Sequence[Problem]) -> ResolvedCommit:
        """Return the commit with problems that only its plan shows."""
        if not problems:
            return self
        objects = replace(self.objects, errors=(*self.objects.errors, *problems))
        return replace(self, objects=objects)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCommit:
    """A plan with the resolved commit that it is of."""

    resolved: ResolvedCommit
    plan: Plan

    @property
    def snapshot(self) -> CommitSnapshot:
        """The planned commit as it was read."""
        return self.resolved.snapshot

    def with_records(self, records: Mapping[ObjectRef, ObjectStatus]) -> PlannedCommit:
        """Return the same plan with records that were written since."""
        inputs = replace(self.plan.inputs, records=dict(records))
        return replace(self, plan=replace(self.plan, inputs=inputs))


class CommitPlanner:
    """Reads, resolves and plans commits of one repository.

    ``ahead``: plans are of a sync to come, so what follows another cluster is unknown in them.
    To be used from one thread at a time.
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
        self._cache = PlanCache()

    def read(self, commit: Commit) -> CommitSnapshot:
        """Read a commit. Raises GitError if the repository cannot be read."""
        with self._cache as cache:
            return self._reader.read(commit, cache)

    def resolve(
        self, snapshot: CommitSnapshot, records: Mapping[ObjectRef, ObjectStatus]
    ) -> ResolvedCommit:
        """Resolve sources, and read the status of other clusters.

        May take as long as remotes take to answer, within the patience of the source resolver.
        """
        with self._cache as cache:
            objects = self._reader.effective(snapshot, records, cache)
            requests, resolutions = self._sources.resolve(
                objects.manifests, snapshot.commit, records, cache
            )
            return ResolvedCommit(
                snapshot=snapshot,
                objects=objects,
                requests=requests,
                resolutions=resolutions,
                remote=self._remote(objects.manifests, cache),
            )

    def plan(self, resolved: ResolvedCommit, state: PlanState) -> PlannedCommit:
        """Plan the sync of a resolved commit. Does no input or output."""
        settings, snapshot, objects = self._settings, resolved.snapshot, resolved.objects
        with self._cache as cache:
            records = cache.snapshot("records", state.records)
            desired = resolve(
                cluster=settings.cluster,
                objects=objects.manifests,
                sources=resolved.resolutions,
                requests=resolved.requests,
                records=records,
                ledger=state.ledger,
                allowed=settings.clusters,
                remote=resolved.remote,
                tenants=settings.tenants,
                ahead=self._ahead,
                cache=cache,
            )
            inputs = PlanInput(
                settings=settings,
                head=snapshot.commit,
                desired=desired,
                invalid=objects.problems,
                documents=snapshot.documents,
                unreadable=str(snapshot.unreadable) if snapshot.unreadable else None,
                tenant_unreadable={
                    tenant: str(problem) for tenant, problem in snapshot.tenant_unreadable.items()
                },
                records=records,
                ledger=state.ledger,
                runs=state.runs,
                capacity=state.capacity,
                released=snapshot.released,
                tenant_releases=snapshot.tenant_releases,
                now=state.now,
                recorded=state.recorded,
                reported=state.reported,
            )
            plan = make_plan(inputs, cache)
            return PlannedCommit(resolved=resolved.with_errors(plan.refused), plan=plan)

    def applied(self, plan: Plan | None) -> None:
        """Note an applied plan; later ones skip what it leaves unchanged.

        With None the next plan compares everything.
        """
        self._cache.applied = plan
