"""Removed objects, for when they come back."""

from __future__ import annotations

from dataclasses import replace

from reconciler.planner import ObjectStatus, OwnCluster, removed_path
from reconciler.status import dump_record, read_own_file


class RemovedObjects:
    """The files of removed objects, by path.

    Each is read when its record is asked for; ``own`` says what is believed of it.
    """

    def __init__(self, own: OwnCluster | None) -> None:
        self._own = own
        self.files: dict[str, bytes] = {}
        self._read: dict[str, tuple[bytes, ObjectStatus | None]] = {}

    def put(self, record: ObjectStatus) -> tuple[str, bytes]:
        """Keep a record; return its path and file."""
        path, data = removed_path(record.ref), dump_record(record)
        self.files[path] = data
        return path, data

    def record(self, path: str) -> ObjectStatus | None:
        """Return a file's record; None if nothing of it is believed."""
        data, known = self.files[path], self._read.get(path)
        if known is None or known[0] is not data:
            file = read_own_file(path, data, self._own)
            known = self._read[path] = (data, file.record if file is not None else None)
        return known[1]

    def records(self) -> list[ObjectStatus]:
        """Return all files' records, as far as they are believed."""
        self._read = {path: known for path, known in self._read.items() if path in self.files}
        return [found for path in self.files if (found := self.record(path)) is not None]


def with_history_of(record: ObjectStatus, removed: ObjectStatus) -> ObjectStatus:
    """Add what was kept of an object that comes back."""
    known = {(entry.key, entry.execution_hash, entry.phase) for entry in removed.history}
    new = [e for e in record.history if (e.key, e.execution_hash, e.phase) not in known]
    spent = {**removed.spent}
    for month, cost in record.spent.items():
        spent[month] = spent.get(month, 0.0) + cost
    return replace(
        record,
        history=(*removed.history, *new),
        artifact=record.artifact or removed.artifact,
        spent=spent,
    )
