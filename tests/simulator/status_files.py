"""The status branch, as a daemon that starts would read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from reconciler.planner import Ledger, ObjectStatus
from reconciler.status import OwnFile, read_own_file
from reconciler.types import ObjectRef


@lru_cache(maxsize=5000)
def _read(path: str, data: bytes) -> OwnFile | None:
    return read_own_file(path, data, None)


def read_status(files: Mapping[str, bytes]) -> dict[ObjectRef, ObjectStatus]:
    """The records of the objects that are there."""
    read = (_read(path, data) for path, data in files.items())
    return {
        file.ref: file.record
        for file in read
        if file is not None and file.record is not None and not file.removed
    }


def read_records(files: Mapping[str, bytes]) -> Iterator[ObjectStatus]:
    """The records of all objects, those that are removed too."""
    for path, data in files.items():
        file = _read(path, data)
        if file is not None and file.record is not None:
            yield file.record


@dataclass(frozen=True)
class Recorded:
    """The keys that the branch says are complete, and the failures that it says are final.

    ``ends`` are the newest ends of what is said to be there.
    """

    complete: frozenset[str] = frozenset()
    failed: frozenset[tuple[str, str]] = frozenset()
    ends: Mapping[str, datetime] = field(default_factory=dict)

    def __and__(self, other: Recorded) -> Recorded:
        both = self.ends.keys() & other.ends.keys()
        ends = {key: min(self.ends[key], other.ends[key]) for key in both}
        return Recorded(self.complete & other.complete, self.failed & other.failed, ends)


def recorded(files: Mapping[str, bytes]) -> Recorded:
    """What a daemon would learn of the branch."""
    ledger, ends = Ledger(), dict[str, datetime]()
    for record in read_records(files):
        ledger.learn_record(record)
        for entry in record.history:
            if entry.artifact is not None and entry.finished is not None and not entry.gone:
                ends[entry.key] = max(entry.finished, ends.get(entry.key, entry.finished))
    final = (place for place, failure in ledger.failures.items() if failure.remembered)
    return Recorded(frozenset(ledger.completed), frozenset(final), ends)
