"""Status of other clusters' objects, read from their status branches.

Only the files that references name are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from reconciler.git import GitError, LocalRepository, Repository
from reconciler.manifests import LARGEST_FILE, Manifest
from reconciler.planner import (
    PlanCache,
    RemoteObject,
    RemoteStatus,
    Unavailable,
    removed_path,
    sharded_path,
    status_path,
)
from reconciler.status import SYNC_FILE
from reconciler.types import Commit, ForeignRef, ObjectRef

#: The tip of each branch; None where there is no such branch.
Tips = Mapping[str, Commit | None]


def _foreign_references(_: ObjectRef, manifest: Manifest) -> tuple[ForeignRef, ...] | None:
    """Return a manifest's references to other clusters, if any."""
    found = (target for target, _, _ in manifest.references if isinstance(target, ForeignRef))
    return tuple(found) or None


def _object(target: ForeignRef, data: bytes) -> RemoteObject | Unavailable:
    from reconciler.status import read_remote_object  # noqa: PLC0415 -- few refer to other clusters

    return read_remote_object(target, status_path(target.ref), data)


class RemoteStatusReader:
    """Reads other clusters' status branches; ``branches`` has the branch of each cluster."""

    def __init__(self, repository: Repository, branches: Mapping[str, str]) -> None:
        self._repository = repository
        self._branches = branches
        self._tips: Tips = {}

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

    def read(self, manifests: Mapping[ObjectRef, Manifest], cache: PlanCache) -> RemoteStatus:
        """Read the status of the remote objects that manifests refer to."""
        if not self._branches:
            return {}  # the planner reports of each cluster that it is not configured
        foreign = cache.table("foreign references", manifests, _foreign_references)
        found: dict[ForeignRef, RemoteObject | Unavailable] = {}
        files: dict[ForeignRef, bytes] = {}
        broken: dict[str, Unavailable | None] = {}
        for target in sorted({target for each in foreign.values() for target in each}):
            if target.cluster not in self._branches:
                continue  # the planner reports that it is not configured
            if target.cluster not in broken:
                broken[target.cluster] = self._check(target.cluster)
            data = broken[target.cluster] or self._file(target)
            if isinstance(data, Unavailable):
                found[target] = data
            else:
                files[target] = data
        return {**found, **cache.table("remote objects", files, _object)}

    def _check(self, cluster: str) -> Unavailable | None:
        """Return the problem of a cluster's whole branch, if any."""
        from reconciler.status import read_cluster  # noqa: PLC0415 -- as above

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

    def _file(self, target: ForeignRef) -> bytes | Unavailable:
        tip = self._tips[self._branches[target.cluster]]
        assert tip is not None  # checked
        try:
            data = self._read(tip, status_path(target.ref), LARGEST_FILE + 1)
            if data is None:
                gone = self._read(tip, removed_path(target.ref), 1) is not None
                return Unavailable("it was removed there" if gone else "there is no status of it")
        except GitError as error:
            return Unavailable(f"its status cannot be read: {error}")
        return data

    def _read(self, tip: Commit, path: str, largest: int) -> bytes | None:
        """Read an object's file, in a shard or without. Raises GitError."""
        data = self._repository.read_file(tip, path, largest)
        if data is None:
            data = self._repository.read_file(tip, sharded_path(path), largest)
        return data
