"""The state on the status branch, for commands that only read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import open_clone
from reconciler.cli.terminal import tell
from reconciler.config import Setup
from reconciler.git import GitError, LocalRepository, Repository, alone, is_local, local_path
from reconciler.planner import (
    ObjectStatus,
    OwnCluster,
    Prices,
    object_of_path,
)
from reconciler.status import COLLECTION_FILE, SYNC_FILE, BelievedBranch
from reconciler.types import Commit, Problem
from reconciler.workspace import believed_status

if TYPE_CHECKING:
    from reconciler.manifests import Manifest

DEFAULT_BRANCH = "reconciler/status/local"
#: Faults that are noted one by one.
_NOTED = 5


@dataclass(slots=True)
class RecordedState(BelievedBranch):
    """The believed status branch, with the repository that has the manifests."""

    repository: Repository | None = None
    setup: Setup | None = None

    @property
    def prices(self) -> Prices:
        """The currency of recorded costs: as recorded, else as configured."""
        recorded = self.sync.currency if self.sync is not None else ""
        if recorded or self.setup is None:
            return Prices(currency=recorded)
        return self.setup.config.prices.prices

    def check_synced(self) -> None:
        """Raise ClickException if there is no status of any object yet."""
        if self.sync is None and not self.records and not self.removed:
            raise click.ClickException(
                "nothing was synced yet, or its status was not fetched; `reconciler run --once` "
                "syncs, and `git fetch` fetches the status into a clone"
            )

    def labels(self, record: ObjectStatus) -> Mapping[str, str]:
        """The labels of an object's manifest, as its recorded commit has them."""
        manifest = self.manifest(record)
        return manifest.document.metadata.labels if manifest is not None else {}

    def lacks(self, record: ObjectStatus) -> bool:
        """Return whether the commit of an object's manifest is missing here."""
        repository = self.repository
        if record.manifest is None:
            return False
        return repository is None or not repository.has(record.manifest.commit)

    def manifest(self, record: ObjectStatus) -> Manifest | None:
        """An object's manifest at its recorded commit; None if that is missing."""
        manifest, repository = record.manifest, self.repository
        if manifest is None or repository is None or self.lacks(record):
            return None

        from reconciler.manifests import read_file  # noqa: PLC0415 -- few commands read any

        data = repository.read_file(manifest.commit, manifest.path)
        content = read_file(manifest.path, data or b"", default_namespace=record.ref.namespace)
        for found in content.manifests:
            if found.ref == record.ref:
                return found
        return None


def _is_read(path: str) -> bool:
    return path in (SYNC_FILE, COLLECTION_FILE) or object_of_path(path) is not None


def _own(setup: Setup | None) -> OwnCluster | None:
    """Return the cluster's places if every machine has the same.

    Those of the local engine are on the disk of the daemon.
    """
    return setup.own_cluster if setup is not None and setup.config.engine != "local" else None


def read_state(repository: Repository, tip: Commit | None, setup: Setup | None) -> RecordedState:
    """The state at the tip of a status branch; empty without one.

    What is not believed of it is noted on standard error.
    """
    state = RecordedState(repository=repository, setup=setup)
    if tip is not None and (believed := _believed(repository, tip, setup)) is not None:
        state.learn(repository.read_all(believed, _is_read), _own(setup))
    note_faults(state.faults)
    return state


def _believed(repository: Repository, tip: Commit, setup: Setup | None) -> Commit | None:
    """Return the status commit that counts; note one before the tip."""
    if setup is None:
        return tip
    try:
        found = believed_status(setup, repository, tip)
    except GitError as error:
        tell(f"Note: the status is shown without a check of its signature: {error}", err=True)
        return tip
    if found != tip:
        which = f"{found[:12]} counts" if found is not None else "no commit before it is either"
        tell(f"Note: the tip {tip[:12]} of the status branch is not signed; {which}.", err=True)
    return found


def note_refused(state: RecordedState) -> None:
    """Note that the head of the branch is not in force."""
    if state.sync is not None and (refused := state.sync.refused) is not None:
        tell(f"Note: {refused.message}; {state.sync.head[:12]} stays in force.", err=True)


def note_faults(faults: Sequence[Problem]) -> None:
    """Note what is not believed of the status branch."""
    for fault in faults[:_NOTED]:
        tell(f"Note: not believed of the status branch: {fault}", err=True)
    if more := len(faults[_NOTED:]):
        tell(f"Note: {more} more of the status branch are not believed.", err=True)


class StateReader:
    """Reads the state again at each call.

    It is read from the remote, or from a repository in a folder on this disk.
    """

    def __init__(self, setup: Setup | None, folder: Path) -> None:
        self._setup = setup
        self._folder = folder
        self._noted = False

    def read(self) -> RecordedState:
        """The newest state. Raises GitError."""
        setup = self._setup
        if setup is None:
            return self._local(open_clone(self._folder), DEFAULT_BRANCH)
        url = setup.repository_url
        if is_local(url):
            return self._local(LocalRepository.open(local_path(url)), setup.status_branch)
        # The modules for remotes take as long as the rest of those for Git.
        from reconciler.workspace import git_folder, status_branch  # noqa: PLC0415

        def learn() -> RecordedState:
            state = RecordedState(repository=self._clone(), setup=setup)
            state.learn(branch.read_all(_is_read), _own(setup))
            return state

        copy = git_folder(setup) / "reader.git"
        with alone(copy):
            branch = status_branch(setup, copy)
            if branch.fetch() is None:
                raise GitError(
                    f"there is no branch {setup.status_branch} yet: nothing was synced; "
                    "`reconciler run` syncs, and makes it"
                )
            state = branch.reading(learn)
        note_faults(state.faults)
        return state

    def _local(self, repository: LocalRepository, branch: str) -> RecordedState:
        if repository.status_branch(branch) is None and not self._noted:
            self._noted = True
            click.echo(
                f"Note: there is no branch {branch} here: nothing was synced yet, or it was not "
                "fetched.",
                err=True,
            )
        return read_state(repository, repository.status_branch(branch), self._setup)

    def _clone(self) -> Repository | None:
        """The clone in the current folder, if any; has the labels."""
        try:
            return LocalRepository.open(self._folder)
        except GitError:
            return None
