"""Plans of commits in a clone, on its status branch's state.

No daemon and no cluster is needed.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from datetime import UTC, datetime

import click

from reconciler.cli.recorded_state import DEFAULT_BRANCH, read_state
from reconciler.config import Setup
from reconciler.engine import Capacity
from reconciler.git import LocalRepository
from reconciler.planner import Plan, PlannerConfig
from reconciler.types import GitSource, Kind
from reconciler.workspace import (
    CommitPlanner,
    CommitReader,
    CommitSnapshot,
    PlanState,
    RemoteStatusReader,
    Resolutions,
    SourceResolver,
    source_reader,
)

#: Buckets of a clone without a configuration; no plan depends on their URLs.
_NOWHERE = dict.fromkeys(Kind, "file:///")


def clock() -> datetime:
    """The current time, which the age of running runs is relative to."""
    return datetime.now(UTC)


class Planning:
    """Reads and plans the commits of a clone.

    Plans are on the state that the clone's status branch records. ``ahead``: they are of a sync to
    come, so what follows another cluster is unknown in them.
    """

    def __init__(
        self, setup: Setup | None, repository: LocalRepository, *, ahead: bool = False
    ) -> None:
        self._repository = repository
        self._setup = setup
        self._now = clock()
        branch = setup.status_branch if setup else DEFAULT_BRANCH
        self.state = read_state(repository, branch)
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
            remote=RemoteStatusReader.local(repository, setup.peer_branches if setup else {}).read,
            ahead=ahead,
        )

    def read(self, revision: str) -> CommitSnapshot:
        """Read a revision. Raises GitError if it is not there."""
        return self._planner.read(self._repository.resolve(revision))

    def plan(self, snapshot: CommitSnapshot) -> Plan:
        """Plan the sync of a commit."""
        containers = self._setup is None or self._setup.config.engine != "local"
        state = PlanState(
            records=self.state.records,
            ledger=self.state.ledger,
            runs=self.state.runs(),
            reported=self.state.reported(),
            capacity=Capacity(containers=containers),
            now=self._now,
        )
        resolved = self._planner.resolve(snapshot, state.records)
        return self._planner.plan(resolved, state).plan

    def _resolve(self, sources: AbstractSet[GitSource], _: AbstractSet[str]) -> Resolutions:
        """Resolve sources in other repositories; needs a configuration's credentials."""
        if not sources or self._setup is None:
            return {}
        return source_reader(self._setup).resolve(sources)
