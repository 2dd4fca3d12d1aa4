"""Plans of commits in a clone, from what the clone's status branch says: no daemon, no cluster."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from reconciler.cli.recorded_state import DEFAULT_BRANCH, read_state
from reconciler.config.model import Setup
from reconciler.engine import Capacity
from reconciler.git.repository import LocalRepository
from reconciler.planner import Plan, PlannerConfig, ResolverCache
from reconciler.types import GitSource, Kind
from reconciler.workspace.commit_reader import Head, Reader
from reconciler.workspace.git_remotes import source_reader
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

#: Without a configuration nobody knows where artifacts go; no plan depends on it.
_NOWHERE = dict.fromkeys(Kind, "file:///")


def clock() -> datetime:
    """Now: how long a run that would be cancelled has been running."""
    return datetime.now(UTC)


class Planning:
    """Reads commits of a clone, and plans them on the state that its status branch records.

    ``ahead``: the plan is of a sync to come, so what follows another cluster is unknown in it.
    """

    def __init__(
        self, setup: Setup | None, repository: LocalRepository, *, ahead: bool = False
    ) -> None:
        self._setup = setup
        self._repository = repository
        self._ahead = ahead
        config = setup.config if setup else None
        self._memo = ResolverCache()
        self._now = clock()
        self._reader = Reader(
            repository,
            path=config.repository.path if config else "",
            namespace=config.kubernetes.namespace if config else "default",
            clusters=config.clusters if config else None,
        )
        branches = setup.peer_branches if setup else {}
        self._peers = PeerReader(repository, branches)
        self._tips = {name: repository.status_branch(name) for name in branches.values()}
        branch = setup.status_branch if setup else DEFAULT_BRANCH
        self.state = read_state(repository, branch)
        if repository.status_branch(branch) is None:
            click.echo(
                f"Note: this clone has no branch {branch}, so nothing counts as made yet; "
                "fetch it if there is one.",
                err=True,
            )
        self._containers = setup is None or setup.config.engine != "local"
        self._settings = setup.settings if setup else PlannerConfig(buckets=_NOWHERE)
        self._url = (
            setup.repository_url if setup else repository.remote_url() or repository.path.as_uri()
        )
        self._allow = setup.sources_allow if setup else ("https://*", "ssh://*", "file://*")

    def read(self, revision: str) -> Head:
        """What a revision says. Raises GitError if it is not there."""
        return self._reader.read(self._repository.resolve(revision))

    def plan(self, head: Head) -> Plan:
        """The plan of a sync of a commit."""
        state = self.state
        objects = effective(head, self._reader, state.records)
        requests = source_requests(objects.manifests, repository_url=self._url, allow=self._allow)
        return make_plan(
            head=head,
            objects=objects,
            requests=requests,
            resolutions=self._resolve(requests, head),
            records=state.records,
            ledger=state.ledger,
            runs=state.runs(),
            capacity=Capacity(containers=self._containers),
            settings=self._settings,
            now=self._now,
            peers=self._peers.read(foreign_references(objects.manifests), self._tips),
            ahead=self._ahead,
            memo=self._memo,
        )

    def _resolve(self, requests: Requests, head: Head) -> Resolutions:
        """Where sources stand now; as last recorded, where they cannot be read from here."""
        found = dict(own_sources(requests, self._repository, head))
        remote = {r for r in requests.values() if isinstance(r, GitSource) and r.url}
        if remote and self._setup is not None:
            found |= source_reader(self._setup).resolve(remote)
        return as_recorded(found, requests, self.state.records)
