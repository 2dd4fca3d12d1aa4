"""References to artifacts from other heads of the manifest repository.

They are what the heads of configured branches ask for, what other clusters' status branches say to
use, and the keys that any manifest at head names, in whatever folder. Blocking; in a repository of
its own, so that the syncs are not disturbed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from reconciler.config import Setup
from reconciler.daemon.pull_request_planner import ApprovedSources, DaemonState, planner_of_heads
from reconciler.git import GitError, Proposals, Repository
from reconciler.manifests import LARGEST_FILE
from reconciler.planner import (
    Reference,
    Referrer,
    Role,
    Unavailable,
    desired_keys_of,
    is_removed_path,
    named_keys,
    object_of_path,
    plan_doubts,
    unreadable,
)
from reconciler.reasons import Reason, message
from reconciler.status import SYNC_FILE, read_cluster, read_used_keys
from reconciler.types import Commit, TaskKey
from reconciler.urls import admits_name
from reconciler.workspace import (
    RemoteStatusReader,
    credential_table,
    git_folder,
    source_reader,
)

#: Seconds that the plan of a branch waits for sources.
_PATIENCE = 30.0


@dataclass(slots=True)
class Found:
    """References, and the doubts about them."""

    references: list[Reference] = field(default_factory=list)
    doubts: list[Reason] = field(default_factory=list)

    def refer(self, keys: frozenset[TaskKey], role: Role, name: str) -> None:
        """Add references of one referrer."""
        self.references += ((key, Referrer(role, name)) for key in sorted(keys))

    def doubt(self, kind: str, name: str, detail: str) -> None:
        """Add a doubt about what cannot be read."""
        self.doubts.append(unreadable(kind, name, detail))


class HeadReader:
    """Reader of the references of other heads, cached while they stay."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._folder = git_folder(setup)
        self._heads = Proposals(
            self._folder / "retention.git",
            setup.repository_url,
            branch=setup.config.repository.branch,
            credentials=credential_table(setup),
        )
        self._sources = ApprovedSources(
            source_reader(setup, patience=_PATIENCE, folder="retention-sources"), any_source=False
        )
        self._remote = RemoteStatusReader(self._heads, setup.cluster_branches)
        self._planner = planner_of_heads(setup, self._heads, self._sources, self._remote.read)
        self._named: dict[str, frozenset[TaskKey]] = {}
        self._used: dict[str, tuple[Commit, Found]] = {}

    def read(self, known: DaemonState, repository: Repository) -> Found:
        """Read all heads. What cannot be read is a doubt.

        ``repository`` has the head that was synced.
        """
        found = Found()
        try:
            self._read_manifests(found, known.head, repository)
        except GitError as error:
            found.doubt("commit", known.head[:12], str(error))
        try:
            branches = self._heads.branches()
        except GitError as error:
            found.doubt("list of branches", "", str(error))
            return found
        synced = branches.get(self._setup.config.repository.branch)
        if synced != known.head:
            found.doubt("commit", (synced or "")[:12], "it is newer than what was synced")
        clusters = self._cluster_branches(branches)
        for cluster, branch in sorted(clusters.items()):
            if branch not in branches:
                found.doubt("status branch of cluster", cluster, f"there is no branch {branch}")
            else:
                self._read_cluster(found, cluster, branch, branches[branch])
        self._remote.update({branch: self._used[branch][0] or None for branch in self._used})
        others = {self._setup.config.repository.branch, self._setup.status_branch}
        for branch in sorted(branches.keys() - others - {*clusters.values()}):
            if admits_name(branch, self._setup.retention.branches):
                self._read_branch(found, branch, known)
        return found

    def _cluster_branches(self, branches: Mapping[str, Commit]) -> dict[str, str]:
        """Return the status branches of other clusters, by name and pattern."""
        form = re.escape(self._setup.config.status.branch).replace(r"\{cluster\}", "(.+)")
        found = {
            match[1]: branch
            for branch in branches
            if (match := re.fullmatch(form, branch)) is not None and match.lastindex
        }
        found.pop(self._setup.config.cluster, None)
        return found | self._setup.cluster_branches

    def _read_manifests(self, found: Found, head: Commit, repository: Repository) -> None:
        """Find keys in the text of all manifests. Raises GitError."""
        named: dict[str, frozenset[TaskKey]] = {}
        for path, blob in sorted(repository.list_manifests(head).items()):
            keys = self._named.get(blob)
            if keys is None:
                data = repository.read_blob(blob, LARGEST_FILE + 1)
                if len(data) > LARGEST_FILE:
                    found.doubt("manifest", path, "it is too large")
                keys = named_keys(data.decode(errors="replace"))
            named[blob] = keys
            found.refer(keys, Role.PIN, path)
        self._named = named

    def _read_cluster(self, found: Found, cluster: str, branch: str, tip: Commit) -> None:
        """Find what another cluster uses, by its status branch."""
        known = self._used.get(branch)
        if known is None or known[0] != tip:
            read = Found()
            try:
                commit = self._heads.fetch_head(f"refs/heads/{branch}", depth=1)
                self._read_status(read, cluster, commit)
            except GitError as error:
                read.doubt("status branch of cluster", cluster, str(error))
                commit = Commit("")  # read again the next time
            self._used[branch] = known = (commit, read)
        found.references += known[1].references
        found.doubts += known[1].doubts

    def _read_status(self, found: Found, cluster: str, commit: Commit) -> None:
        """Find the keys used by a status commit. Raises GitError."""
        what, own = "status branch of cluster", self._setup.config.cluster
        data = self._heads.read_file(commit, SYNC_FILE, LARGEST_FILE + 1)
        owner = read_cluster(SYNC_FILE, data or b"")
        if owner != cluster:
            detail = owner.detail if isinstance(owner, Unavailable) else f"it is of cluster {owner}"
            found.doubt(what, cluster, detail)
            return
        for path, text in self._heads.read_all(commit, _is_status):
            keys = read_used_keys(path, text, own)
            if isinstance(keys, Unavailable):
                found.doubt(what, cluster, f"{path}: {keys.detail}")
            else:
                found.refer(keys, Role.CLUSTER, cluster)

    def _read_branch(self, found: Found, branch: str, known: DaemonState) -> None:
        """Plan the head of a branch, and find what it asks for."""
        planner, records = self._planner, known.state.records
        self._sources.approved = {
            source.url for record in records.values() for source in record.sources
        }
        try:
            commit = self._heads.fetch_head(f"refs/heads/{branch}", depth=1)
            resolved = planner.resolve(planner.read(commit), records)
            plan = planner.plan(resolved, replace(known.state, now=datetime.now(UTC))).plan
        except GitError as error:
            found.doubt("branch", branch, str(error))
            return
        found.refer(frozenset(key for key, _ in desired_keys_of(plan)), Role.BRANCH, branch)
        doubt = next(plan_doubts(plan), None)
        if doubt is not None:
            found.doubt("branch", branch, message(doubt))


def reading_heads(setup: Setup, repository: Repository) -> Callable[[DaemonState], Found]:
    """Return a reader of all heads, made at its first call."""
    readers: list[HeadReader] = []

    def read(state: DaemonState) -> Found:
        if not readers:
            readers.append(HeadReader(setup))
        return readers[0].read(state, repository)

    return read


def _is_status(path: str) -> bool:
    return object_of_path(path) is not None and not is_removed_path(path)
