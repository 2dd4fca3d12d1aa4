"""Files of this cluster's own status branch, read as untrusted input.

Whoever may push to the branch writes them, and a hand edit may be wrong. So nothing in a file ends
the daemon: what is not of the format, and what this daemon would not have written, is passed over
as if it were not there, and told. The rest of the file counts.

:mod:`reconciler.planner.own_cluster` decides which artifacts and images are believed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from reconciler.codec import whole_seconds
from reconciler.manifests import MOST_COMBINATIONS, NAME
from reconciler.planner import (
    CURRENCY,
    MOST_MONTHS,
    EndingRun,
    HistoryEntry,
    Ledger,
    ObjectStatus,
    OwnCluster,
    TaskPhase,
    TaskStatus,
    VariantStatus,
    is_removed_path,
    object_of_path,
)
from reconciler.status.collection_report import (
    COLLECTION_FILE,
    CollectionReport,
    read_collection,
)
from reconciler.status.encoding import (
    SYNC_FILE,
    StatusFormatError,
    Sync,
    load_sync,
    load_yaml,
    record_of,
)
from reconciler.types import API_VERSION, JSON, ForeignRef, Location, ObjectRef, Problem

#: Faults of one file that are told.
_MOST_FAULTS = 10
#: Runs of one object that are being ended; a sweep has as many variants.
_MOST_ENDING = 1000
#: Characters of JSON that the params of an entry may have; four times what is written.
_LARGEST_PARAMS = 16 << 10
_IMAGE_KEY = re.compile(r"[0-9a-f]{40}|sha256:[0-9a-f]{64}")
_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
_CURRENCY = re.compile(CURRENCY)
_HOLD = re.compile(r"[0-9a-f]{12}")
_JOB = re.compile(NAME.strip("^$"))
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s\x00-\x1f\x7f]{1,2048}")
_ENDED = (TaskPhase.SUCCEEDED, TaskPhase.FAILED, TaskPhase.INTERRUPTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnFile:
    """An object's file: the believed record, and the faults.

    ``record`` is None where nothing is.
    """

    ref: ObjectRef
    removed: bool
    record: ObjectStatus | None
    faults: tuple[Problem, ...] = ()


def read_own_file(path: str, data: bytes | None, own: OwnCluster | None) -> OwnFile | None:
    """Read a file of the branch; None if it is no object's.

    ``data`` is None where the file is beyond the bounds of the branch. Without ``own`` the places
    of artifacts, images and logs are not checked.
    """
    ref = object_of_path(path)
    if ref is None:
        return None
    reading = _Reading(path, ref, own)
    record = reading.record(data)
    return OwnFile(
        ref=ref, removed=is_removed_path(path), record=record, faults=tuple(reading.shown())
    )


def read_own_sync(data: bytes | None) -> tuple[Sync | None, tuple[Problem, ...]]:
    """Read ``sync.yaml``; None where it is not of the format."""
    if data is None:
        return None, ()
    try:
        sync = load_sync(data)
    except StatusFormatError as error:
        return None, (Problem(Location(SYNC_FILE), "", error.why),)
    faults: list[Problem] = []
    releases = tuple(each for each in sync.releases if _HOLD.fullmatch(each))
    if len(releases) < len(sync.releases):
        faults.append(Problem(Location(SYNC_FILE), "releases", "not all are ids of holds"))
    currency = sync.currency if _CURRENCY.fullmatch(sync.currency) else ""
    if currency != sync.currency:
        faults.append(Problem(Location(SYNC_FILE), "currency", "it is none"))
    return replace(sync, releases=releases, currency=currency), tuple(faults)


@dataclass(slots=True)
class _Reading:
    """The reading of one object's file."""

    path: str
    ref: ObjectRef
    own: OwnCluster | None
    faults: list[Problem] = field(default_factory=list)

    def shown(self) -> Iterator[Problem]:
        yield from self.faults[:_MOST_FAULTS]
        if more := len(self.faults[_MOST_FAULTS:]):
            yield Problem(Location(self.path), "", f"{more} more faults are not listed")

    def _fault(self, place: str, problem: str) -> None:
        self.faults.append(Problem(Location(self.path), place, problem))

    def record(self, data: bytes | None) -> ObjectStatus | None:
        if data is None:
            self._fault("", "it is beyond the bounds of a status branch")
            return None
        try:
            document = load_yaml(self.path, data)
            record = self._whole(document) or self._parts(document)
        except StatusFormatError as error:
            self._fault("", error.why)
            return None
        if record.ref != self.ref:
            self._fault(
                "", f"it is about {record.ref.kind} {record.ref.namespace}/{record.ref.name}"
            )
            return None
        return self._believed(record)

    def _whole(self, document: Mapping[str, Any]) -> ObjectStatus | None:
        if document.get("apiVersion") != API_VERSION:
            raise StatusFormatError(self.path, f"expected apiVersion {API_VERSION}")
        try:
            return record_of(self.path, document)
        except StatusFormatError:
            return None

    def _parts(self, document: Mapping[str, Any]) -> ObjectStatus:
        """Return the record of the fields and list items of the format."""
        status = document.get("status")
        if not isinstance(status, dict):
            raise StatusFormatError(self.path, "it has no status")
        least = {**document, "status": {"phase": status.get("phase")}}
        record_of(self.path, least)
        found: dict[str, Any] = {}
        for name, value in status.items():
            fits = value
            if isinstance(value, list) and value:
                fits = [
                    item
                    for number, item in enumerate(value)
                    if self._fits(least, name, [item], f"{name}[{number}]")
                ]
                if not fits:
                    continue
            if self._fits(least, name, fits, name):
                found[name] = fits
        return record_of(self.path, {**document, "status": found})

    def _fits(self, least: Mapping[str, Any], name: str, value: Any, place: str) -> bool:
        document = {**least, "status": {**least["status"], name: value}}
        try:
            record_of(self.path, document)
        except StatusFormatError as error:
            self._fault(f"status.{place}", error.why)
            return False
        return True

    # -- what is of the format, and not believed ---------------------------------------------

    def _believed(self, record: ObjectStatus) -> ObjectStatus:
        now = whole_seconds(datetime.now(UTC))
        hold = record.hold
        if hold is not None and not _HOLD.fullmatch(hold):
            self._fault("status.hold", "it is no id of a hold")
            hold = None
        artifact = record.artifact
        if artifact is not None and not _is_url(artifact.url):
            self._fault("status.artifact", "its url is none")
            artifact = None
        references = tuple(each for each in record.references if _is_reference(each.target))
        if len(references) < len(record.references):
            self._fault("status.references", "not all are of objects")
        return replace(
            record,
            hold=hold,
            artifact=artifact,
            references=references,
            ending=self._ending(record.ending, now),
            spent=self._spent(record.spent),
            variants=self._variants(record.variants),
            tasks=tuple(self._task(n, task) for n, task in enumerate(record.tasks)),
            history=tuple(
                found
                for number, entry in enumerate(record.history)
                if (found := self._entry(f"status.history[{number}]", entry, now)) is not None
            ),
        )

    def _ending(self, ending: tuple[EndingRun, ...], now: datetime) -> tuple[EndingRun, ...]:
        """Return those with a run's name and an interruption, one a run."""
        known: dict[str, EndingRun] = {}
        for number, each in enumerate(ending):
            place = f"status.ending[{number}]"
            entry = self._entry(place, each.entry, now)
            if len(known) == _MOST_ENDING:
                self._fault("status.ending", f"there are more than {_MOST_ENDING}")
                break
            if not _JOB.fullmatch(each.job) or each.entry.phase is not TaskPhase.INTERRUPTED:
                self._fault(place, "it is no run that is being ended")
            elif entry is not None:
                known[each.job] = replace(each, entry=entry)
        return tuple(known.values())

    def _spent(self, spent: Mapping[str, float]) -> Mapping[str, float]:
        known = {m: cost for m, cost in spent.items() if _MONTH.fullmatch(m) and cost >= 0}
        if len(known) < len(spent) or len(known) > MOST_MONTHS:
            self._fault("status.spent", "not all are costs of months")
        return {month: known[month] for month in sorted(known)[-MOST_MONTHS:]}

    def _variants(self, variants: tuple[VariantStatus, ...]) -> tuple[VariantStatus, ...]:
        """Return the variants that can be of a matrix.

        A guard alone asks what they made.
        """
        known = tuple(
            variant
            for variant in variants[:MOST_COMBINATIONS]
            if _is_small(variant.params) and (variant.artifact is None or _is_url(variant.artifact))
        )
        if len(known) < len(variants):
            self._fault("status.variants", "not all are of a matrix")
        return known

    def _task(self, number: int, task: TaskStatus) -> TaskStatus:
        place = f"status.tasks[{number}]"
        if task.job is not None and not _JOB.fullmatch(task.job):
            self._fault(f"{place}.job", "it is no name of a run")
            task = replace(task, job=None)
        known = self.own is None or (
            task.log is not None and self.own.is_log(task.log, self.ref.namespace)
        )
        if task.log is not None and not (known and _is_url(task.log)):
            self._fault(f"{place}.log", "no run of this cluster logs there")
            task = replace(task, log=None)
        if task.released is not None and not _HOLD.fullmatch(task.released):
            self._fault(f"{place}.released", "it is no id of a hold")
            task = replace(task, released=None)
        if task.attempts < 0 or task.failures < 0:
            self._fault(place, "a count is negative")
            task = replace(task, attempts=max(0, task.attempts), failures=max(0, task.failures))
        return task

    def _entry(self, place: str, entry: HistoryEntry, now: datetime) -> HistoryEntry | None:
        if entry.phase not in _ENDED:
            self._fault(f"{place}.phase", "it is not how a run ends")
            return None
        if entry.image_key is not None and not _IMAGE_KEY.fullmatch(entry.image_key):
            self._fault(f"{place}.imageKey", "it is no key of an image")
            return None
        if not _is_small(entry.params):
            self._fault(f"{place}.params", f"they are no JSON of {_LARGEST_PARAMS >> 10} KiB")
            entry = replace(entry, params={})
        if min(entry.seconds, entry.gpu_seconds, entry.cost) < 0:
            self._fault(place, "a time or cost is negative")
            entry = replace(entry, seconds=0.0, gpu_seconds=0.0, cost=0.0)
        return self._placed(place, entry, now) if self.own is not None else entry

    def _placed(self, place: str, entry: HistoryEntry, now: datetime) -> HistoryEntry:
        """Mark an entry as lost if its result is elsewhere.

        The run that makes it again looks there first, so that what is there costs no time.
        """
        own = self.own
        assert own is not None
        built = entry.artifact is None
        image, key = entry.image, entry.key if built else entry.image_key
        image_known = image is None or (
            own.is_built_image(image, key or "") if built else own.is_image(image, key or "")
        )
        artifact_known = entry.artifact is None or own.is_artifact(
            entry.artifact, self.ref.namespace, entry.key, entry.task
        )
        if not image_known:
            self._fault(f"{place}.image", "no image of this cluster is there")
        if not artifact_known:
            self._fault(f"{place}.artifact", "no artifact of this object and key is there")
        result_known = image_known if built else artifact_known
        if not result_known and entry.phase is TaskPhase.SUCCEEDED and not entry.gone:
            entry = replace(entry, lost=now)
        return entry if image_known or built else replace(entry, image=None)


def _is_small(params: Mapping[str, JSON]) -> bool:
    try:
        return len(json.dumps(params, allow_nan=False)) <= _LARGEST_PARAMS
    except ValueError:
        return False


def _is_url(url: str) -> bool:
    return _URL.fullmatch(url) is not None


def _is_reference(target: ForeignRef) -> bool:
    names = (target.cluster, target.ref.namespace, target.ref.name)
    return all(_JOB.fullmatch(name) for name in names)


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
    collection: CollectionReport | None = None
    faults: list[Problem] = field(default_factory=list)
    doubted: bool = False

    def learn(self, files: Iterable[tuple[str, bytes | None]], own: OwnCluster | None) -> None:
        """Take over the believed files of the branch; others are passed over."""
        for path, data in files:
            if path == SYNC_FILE:
                self._learn_sync(data)
            elif path == COLLECTION_FILE:
                self.collection = read_collection(data)
            elif (file := read_own_file(path, data, own)) is not None:
                self.faults += file.faults
                self.doubted |= bool(file.faults) and not file.removed
                if file.record is not None:
                    self.ledger.learn_record(file.record)
                    if file.removed:
                        self.ledger.removed_spent[file.ref] = file.record.spent
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
