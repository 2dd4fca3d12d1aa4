"""Plans of commits in a clone, on its status branch's state.

No daemon and no cluster is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

import click

from reconciler.cli.configured import run_sections
from reconciler.cli.recorded_runs import recorded_plan_state
from reconciler.cli.recorded_state import DEFAULT_BRANCH, read_state
from reconciler.config import Setup
from reconciler.engine import Capacity
from reconciler.git import LocalRepository, is_local
from reconciler.manifests import Manifest
from reconciler.planner import Plan, PlannerConfig
from reconciler.reasons import UnresolvedSource, message
from reconciler.review import Basis
from reconciler.types import GitSource, Kind
from reconciler.workspace import (
    CommitPlanner,
    CommitReader,
    CommitSnapshot,
    GitResolutions,
    PlannedCommit,
    RemoteStatusReader,
    SourceResolver,
)

if TYPE_CHECKING:
    from reconciler.cli.fetched_remote import FetchedRemote

#: Buckets of a clone without a configuration; no plan depends on their URLs.
_NOWHERE = dict.fromkeys(Kind, "file:///")


def clock() -> datetime:
    """The current time, which the age of running runs is relative to."""
    return datetime.now(UTC)


class Planning:
    """Reads and plans the commits of a clone.

    Plans are on the state that the clone's status branch records, or on that of ``remote``.
    ``ahead``: they are of a sync to come, so what follows another cluster is unknown in them.
    """

    def __init__(
        self,
        setup: Setup | None,
        repository: LocalRepository,
        *,
        remote: FetchedRemote | None = None,
        ahead: bool = False,
    ) -> None:
        self._repository = repository
        self._setup = setup
        self._unread: dict[GitSource, str] = {}
        self.now = clock()
        branch = setup.status_branch if setup else DEFAULT_BRANCH
        branches = setup.cluster_branches if setup else {}
        if remote is not None:
            self.state = read_state(remote.mirror, remote.tips[branch], setup)
            others = RemoteStatusReader(remote.mirror, branches)
            others.update(remote.tips)
        else:
            self.state = read_state(repository, repository.status_branch(branch), setup)
            others = RemoteStatusReader.local(repository, branches)
            if repository.status_branch(branch) is None:
                click.echo(
                    f"Note: this clone has no branch {branch}, so nothing counts as made yet; "
                    "fetch it if there is one.",
                    err=True,
                )
        url = setup.repository_url if setup else repository.remote_url() or repository.path.as_uri()
        allow = setup.sources_allow if setup else ("https://*", "ssh://*", "file://*")
        self._planner = CommitPlanner(
            CommitReader.from_setup(repository, setup)
            if setup
            else CommitReader(repository, path="", namespace="default", clusters=None),
            settings=setup.settings if setup else PlannerConfig(buckets=_NOWHERE),
            sources=SourceResolver(repository, url, allow, remote=self._resolve, recorded=True),
            remote=others.read,
            ahead=ahead,
        )

    def read(self, revision: str) -> CommitSnapshot:
        """Read a revision. Raises GitError if it is not there."""
        return self._planner.read(self._repository.resolve(revision))

    def plan(self, snapshot: CommitSnapshot) -> Plan:
        """Plan the sync of a commit."""
        return self.planned(snapshot).plan

    def planned(self, snapshot: CommitSnapshot) -> PlannedCommit:
        """Plan the sync of a commit, keeping the plan's inputs."""
        resolved = self._planner.resolve(snapshot, self.state.records)
        capacity = self._capacity(resolved.objects.manifests.values())
        state = recorded_plan_state(self.state, capacity=capacity, now=self.now)
        return self._planner.plan(resolved, state)

    def _capacity(self, manifests: Iterable[Manifest]) -> Capacity:
        """Return what is known of the daemon's engine.

        The GPUs of a local engine are known where its repository is on this machine, as it is too.
        They are counted only if a manifest asks for any: a driver may take a second to answer.
        """
        setup = self._setup
        if setup is None or setup.config.engine != "local":
            return Capacity(containers=True)
        sections = (section for each in manifests for _, section in run_sections(each))
        asked = any(section.resources.gpu is not None for section in sections)
        gpus = self._gpus if asked and is_local(setup.repository_url) else None
        return Capacity(containers=setup.config.local.runtime != "process", gpus=gpus)

    @cached_property
    def _gpus(self) -> int:
        from reconciler.engines.local import find_gpus  # noqa: PLC0415 -- few plans count any

        return len(find_gpus())

    def basis(self, plan: Plan) -> Basis:
        """Return the recorded state that a plan is made on."""
        sync = self.state.sync
        desired = plan.inputs.desired.values()
        followed = (s.request for item in desired for s in item.sources if s.git.follow)
        listed = (i.data.request for i in desired if i.data and i.data.bucket.follow)
        return Basis(
            observed=sync.observed if sync is not None else None,
            head=sync.head if sync is not None else None,
            unread={
                **{s.url: self._unread[s] for s in followed if s in self._unread},
                **{s.url: "the daemon alone lists buckets" for s in listed},
            },
        )

    def _resolve(self, sources: AbstractSet[GitSource], _: AbstractSet[str]) -> GitResolutions:
        """Resolve sources in other repositories; needs a configuration's credentials."""
        if not sources:
            return {}
        found: GitResolutions = {}
        if self._setup is not None:
            # The modules for remotes take as long as the rest of those for Git.
            from reconciler.workspace import source_reader  # noqa: PLC0415

            found = source_reader(self._setup).resolve(sources)
        for source in sources:
            known = found.get(source)
            if known is None:
                self._unread[source] = "sources are looked up only with a configuration"
            elif isinstance(known, UnresolvedSource):
                self._unread[source] = message(known.reason)
        return found
