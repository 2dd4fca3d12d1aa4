"""The believed content of this cluster's own status branch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from reconciler.planner import Ledger, ObjectStatus, OwnCluster
from reconciler.status.encoding import SYNC_FILE, Sync
from reconciler.status.own_branch import read_own_file, read_own_sync
from reconciler.types import ObjectRef, Problem


@dataclass(slots=True)
class BelievedBranch:
    """The records of objects, the ledger, and the last sync.

    Records of removed objects are in ``removed``, and count for the ledger. ``doubted``: something
    of an object that is still there is not believed.
    """

    records: dict[ObjectRef, ObjectStatus] = field(default_factory=dict)
    removed: dict[ObjectRef, ObjectStatus] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    sync: Sync | None = None
    faults: list[Problem] = field(default_factory=list)
    doubted: bool = False

    def learn(self, files: Iterable[tuple[str, bytes | None]], own: OwnCluster | None) -> None:
        """Take over the believed files of the branch; others are passed over."""
        for path, data in files:
            if path == SYNC_FILE:
                self._learn_sync(data)
            elif (file := read_own_file(path, data, own)) is not None:
                self.faults += file.faults
                self.doubted |= bool(file.faults) and not file.removed
                if file.record is not None:
                    self.ledger.learn_record(file.record)
                    (self.removed if file.removed else self.records)[file.ref] = file.record

    def _learn_sync(self, data: bytes | None) -> None:
        self.sync, faults = read_own_sync(data)
        self.faults += faults
        if self.sync is not None:
            self.ledger.use_releases(self.sync.releases)

    @property
    def whole(self) -> bool:
        """True if nothing of the branch is missing or doubted."""
        return self.sync is not None and not self.doubted
