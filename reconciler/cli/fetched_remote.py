"""The remote repository of a configuration, fetched for one command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from reconciler.config import Setup
from reconciler.git import LocalRepository, Mirror, alone
from reconciler.types import Commit
from reconciler.workspace import credential_table, git_folder


@dataclass(frozen=True, slots=True)
class FetchedRemote:
    """The followed branch and the status branches of the remote."""

    mirror: Mirror
    head: Commit
    tips: Mapping[str, Commit | None]

    @classmethod
    def fetch(cls, setup: Setup) -> Self:
        """Fetch them into a mirror beside that of `status`. Raises GitError."""
        copy = git_folder(setup) / "reader-manifests.git"
        with alone(copy):
            mirror = Mirror.open(
                copy,
                setup.repository_url,
                branch=setup.config.repository.branch,
                others=sorted({setup.status_branch, *setup.cluster_branches.values()}),
                credentials=credential_table(setup),
            )
            return cls(mirror, mirror.fetch(), mirror.fetch_tips())

    def clone(self) -> LocalRepository:
        """The mirror, as a clone to be planned in."""
        return LocalRepository.open(self.mirror.path)
