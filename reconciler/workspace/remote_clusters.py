"""Status of other clusters' objects, read from their status branches.

Only the files that references name are read, each once as long as its content stays the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from reconciler.git import GitError, LocalRepository, Repository
from reconciler.manifests import LARGEST_FILE, Manifest
from reconciler.planner import RemoteObject, RemoteStatus, Unavailable, removed_path, status_path
from reconciler.status import SYNC_FILE, read_cluster, read_peer
from reconciler.types import Commit, ForeignRef, ObjectRef

#: The tip of each branch; None where there is no such branch.
Tips = Mapping[str, Commit | None]


def _foreign_references(objects: Mapping[ObjectRef, Manifest]) -> frozenset[ForeignRef]:
    """Every object of another cluster that manifests refer to."""
    return frozenset(
        target
        for manifest in objects.values()
        for target, _, _ in manifest.references
        if isinstance(target, ForeignRef)
    )


class RemoteStatusReader:
    """Reads other clusters' status branches; ``branches`` has the branch of each cluster.

    Keeps what was parsed of each file, with its text.
    """

    def __init__(self, repository: Repository, branches: Mapping[str, str]) -> None:
        self._repository = repository
        self._branches = branches
        self._tips: Tips = {}
        self._references: tuple[Mapping[ObjectRef, Manifest], frozenset[ForeignRef]] | None = None
        self._known: dict[ForeignRef, tuple[bytes, RemoteObject | Unavailable]] = {}

    @classmethod
    def local(cls, repository: LocalRepository, branches: Mapping[str, str]) -> Self:
        """A reader of the branches' current tips in a local repository."""
        reader = cls(repository, branches)
        reader.update({name: repository.status_branch(name) for name in branches.values()})
        return reader

    def update(self, tips: Tips) -> bool:
        """Take over the branches' newest tips; returns whether any has moved."""
        moved, self._tips = tips != self._tips, tips
        return moved

    def read(self, manifests: Mapping[ObjectRef, Manifest]) -> RemoteStatus:
        """Read the status of the remote objects that manifests refer to."""
        if not self._branches:
            return {}  # the planner reports of each cluster that it is not configured
        if self._references is None or self._references[0] is not manifests:
            self._references = manifests, _foreign_references(manifests)
        found: dict[ForeignRef, RemoteObject | Unavailable] = {}
        broken: dict[str, Unavailable | None] = {}
        for target in sorted(self._references[1]):
            if target.cluster not in self._branches:
                continue  # the planner reports that it is not configured
            if target.cluster not in broken:
                broken[target.cluster] = self._check(target.cluster)
            found[target] = broken[target.cluster] or self._object(target)
        self._known = {target: self._known[target] for target in found if target in self._known}
        return found

    def _check(self, cluster: str) -> Unavailable | None:
        """Return the problem of a cluster's whole branch, if any."""
        branch = self._branches[cluster]
        tip = self._tips.get(branch)
        if tip is None:
            return Unavailable(f"the repository has no branch {branch}")
        try:
            data = self._repository.read_file(tip, SYNC_FILE, LARGEST_FILE + 1)
        except GitError as error:
            return Unavailable(f"the branch {branch} cannot be read: {error}")
        if data is None:
            return Unavailable(f"the branch {branch} is no status branch: it has no {SYNC_FILE}")
        owner = read_cluster(SYNC_FILE, data)
        if isinstance(owner, Unavailable):
            return owner
        if owner != cluster:
            return Unavailable(f"the branch {branch} is of cluster {owner}")
        return None

    def _object(self, target: ForeignRef) -> RemoteObject | Unavailable:
        tip = self._tips[self._branches[target.cluster]]
        assert tip is not None  # checked
        path = status_path(target.ref)
        try:
            data = self._repository.read_file(tip, path, LARGEST_FILE + 1)
            if data is None:
                gone = self._repository.read_file(tip, removed_path(target.ref), 1) is not None
                return Unavailable("it was removed there" if gone else "there is no status of it")
        except GitError as error:
            return Unavailable(f"its status cannot be read: {error}")
        known = self._known.get(target)
        if known is None or known[0] != data:
            known = self._known[target] = (data, read_peer(target, path, data))
        return known[1]
