"""What other clusters' status branches say of the objects that manifests refer to.

Only the files that references name are read, each once as long as it stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from reconciler.git.errors import GitError
from reconciler.git.mirror import Mirror
from reconciler.git.repository import Repository
from reconciler.manifests.loader import Manifest
from reconciler.planner import RemoteObject, RemoteStatus, Unavailable, removed_path, status_path
from reconciler.status.peer import LARGEST_FILE, read_cluster, read_peer
from reconciler.status.sync import SYNC_FILE
from reconciler.types import Commit, ForeignRef, ObjectRef

#: The tip of each branch; None where there is no such branch.
Tips = Mapping[str, Commit | None]


def foreign_references(objects: Mapping[ObjectRef, Manifest]) -> frozenset[ForeignRef]:
    """Every object of another cluster that manifests refer to."""
    return frozenset(
        target
        for manifest in objects.values()
        for target, _, _ in manifest.references
        if isinstance(target, ForeignRef)
    )


@dataclass(slots=True)
class PeerReader:
    """Reads status branches out of a repository; ``branches`` has that of each cluster.

    Keeps what it read of each file, with the text it read.
    """

    repository: Repository
    branches: Mapping[str, str]
    _known: dict[ForeignRef, tuple[bytes, RemoteObject | Unavailable]] = field(default_factory=dict)

    def read(self, wanted: Iterable[ForeignRef], tips: Tips) -> RemoteStatus:
        """What is known of these objects, where the branches stand so."""
        found: dict[ForeignRef, RemoteObject | Unavailable] = {}
        wrong: dict[str, Unavailable | None] = {}
        for target in sorted(wanted):
            if target.cluster not in self.branches:
                continue  # the planner says that it is not configured
            if target.cluster not in wrong:
                wrong[target.cluster] = self._check(target.cluster, tips)
            found[target] = wrong[target.cluster] or self._object(target, tips)
        self._known = {target: self._known[target] for target in found if target in self._known}
        return found

    def _check(self, cluster: str, tips: Tips) -> Unavailable | None:
        """What is wrong with a cluster's branch as a whole."""
        branch = self.branches[cluster]
        tip = tips.get(branch)
        if tip is None:
            return Unavailable(f"the repository has no branch {branch}")
        try:
            data = self.repository.read_file(tip, SYNC_FILE, LARGEST_FILE + 1)
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

    def _object(self, target: ForeignRef, tips: Tips) -> RemoteObject | Unavailable:
        tip = tips[self.branches[target.cluster]]
        assert tip is not None  # checked
        path = status_path(target.ref)
        try:
            data = self.repository.read_file(tip, path, LARGEST_FILE + 1)
            if data is None:
                gone = self.repository.read_file(tip, removed_path(target.ref), 1) is not None
                return Unavailable("it was removed there" if gone else "there is no status of it")
        except GitError as error:
            return Unavailable(f"its status cannot be read: {error}")
        known = self._known.get(target)
        if known is None or known[0] != data:
            known = self._known[target] = (data, read_peer(target, path, data))
        return known[1]


class PeerWatch:
    """The other clusters' branches in the daemon's own mirror, fetched along with it."""

    def __init__(self, mirror: Mirror, branches: Mapping[str, str]) -> None:
        self._mirror = mirror
        self._reader = PeerReader(mirror, branches)
        self._tips: Tips = {}
        self._wanted: tuple[Mapping[ObjectRef, Manifest], frozenset[ForeignRef]] | None = None

    def fetch(self) -> bool:
        """Take over what has moved, after a fetch of the mirror; says whether anything has.

        What cannot be fetched stays as it was fetched last. Raises GitError.
        """
        tips = self._mirror.fetch_tips()
        moved, self._tips = tips != self._tips, tips
        return moved

    def read(self, objects: Mapping[ObjectRef, Manifest]) -> RemoteStatus:
        """What is known of the objects of other clusters that these manifests refer to."""
        if not self._reader.branches:
            return {}  # the planner says of each cluster that it is not configured
        if self._wanted is None or self._wanted[0] is not objects:
            self._wanted = objects, foreign_references(objects)
        return self._reader.read(self._wanted[1], self._tips)
