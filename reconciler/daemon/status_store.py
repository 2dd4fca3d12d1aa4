"""Records of objects, kept in memory and pushed to the status branch.

Pushes are batched, and have only the files that differ from the last push.
"""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from reconciler.codec import whole_seconds
from reconciler.daemon.recorded_outcomes import RecordedOutcomes
from reconciler.daemon.removed_objects import RemovedObjects, with_history_of
from reconciler.daemon.shutdown import WritePermission
from reconciler.engine import Run
from reconciler.errors import ReconcilerError
from reconciler.git import StatusBranch
from reconciler.planner import (
    CLOCK_SKEW,
    HistoryEntry,
    Ledger,
    ObjectStatus,
    OwnCluster,
    Phases,
    TaskPhase,
    is_removed_path,
    object_of_path,
    removed_path,
    status_path,
)
from reconciler.status import (
    COLLECTION_FILE,
    README_FILE,
    SYNC_FILE,
    BelievedBranch,
    CollectionReport,
    Readme,
    RefusedHead,
    Shards,
    Sync,
    dump_collection,
    dump_record,
    dump_sync,
    read_collection,
    read_own_sync,
)
from reconciler.types import Commit, ObjectRef, Problem, TaskKey, TaskKind

log = structlog.get_logger(__name__)
_Records = Mapping[ObjectRef, ObjectStatus]


class WrongBranchError(ReconcilerError):
    """The status branch belongs to another daemon."""


#: Faults of the branch that are logged, one by one.
_MOST_FAULTS = 50
#: The status says at least this often that its daemon is there.
HEARTBEAT = timedelta(hours=1)


class StatusStore:
    """The records, in memory and on the status branch.

    :meth:`update` takes the newest records; :meth:`flush` pushes what changed since the last
    push. In between all is only in memory, and can be worked out again after a crash. The branch is
    read by :meth:`load` alone: while a push is under way, it is the push's thread that uses it. It
    is untrusted, and read as far as ``own`` believes it. ``recorded`` is called after each push
    with the records on the branch before it and after it.
    """

    def __init__(
        self,
        branch: StatusBranch,
        *,
        cluster: str,
        instance: str,
        path: str,
        own: OwnCluster | None = None,
        permission: WritePermission = WritePermission(),  # noqa: B008 -- it is frozen
        recorded: Callable[[_Records, _Records], None] = lambda _before, _after: None,
    ) -> None:
        self._branch = branch
        self._permission = permission
        self._own_cluster = own
        self._on_recorded = recorded
        self._recorded: _Records = {}
        self._identity = {"cluster": cluster, "instance": instance, "path": path}
        self._pending: dict[str, bytes | None] = {}
        self._shards = Shards()
        self._readme = Readme(self._shards)
        self._removed = RemovedObjects(own)
        self.collection: CollectionReport | None = None
        self._own: bytes | None = None
        self._sync: Sync | None = None
        self._sync_pushed: Sync | None = None
        self._outcomes = RecordedOutcomes()
        self._newer: dict[ObjectRef, ObjectStatus] = {}
        self._pushing = asyncio.Lock()
        self.records: dict[ObjectRef, ObjectStatus] = {}
        self.phases = Phases()
        self.ledger = Ledger()
        self.found_memory = False
        #: What was not believed of the branch at the start.
        self.faults: tuple[Problem, ...] = ()

    async def load(self) -> None:
        """Read the branch. Raises GitError, and WrongBranchError."""
        await asyncio.to_thread(self._branch.reading, self._load)

    def _load(self) -> None:
        self._branch.fetch()
        if self._branch.forged:
            log.error("the tip of the status branch is not signed; an earlier commit counts")
        data, branch = self._branch.read(SYNC_FILE), BelievedBranch()
        branch.learn([(SYNC_FILE, data)], self._own_cluster)
        if branch.sync is not None:
            self._sync = self._sync_pushed = branch.sync
            self._check_identity(branch.sync)
            self._own = data
        texts: dict[str, bytes] = {}
        branch.learn(self._object_files(texts), self._own_cluster)
        for record in (*branch.records.values(), *branch.removed.values()):
            self._outcomes.add(record)
        self.collection = read_collection(self._branch.read(COLLECTION_FILE))
        self._removed.files = {path: texts[path] for path in map(removed_path, branch.removed)}
        self.records, self.ledger = branch.records, branch.ledger
        _log_faults(branch.faults)
        self.faults = tuple(branch.faults)
        # What is not believed may be in the buckets all the same.
        self.found_memory = branch.whole
        self._recorded = dict(self.records)
        self.phases = Phases(self.records.values())
        self._divide()

    def _object_files(self, removed: dict[str, bytes]) -> Iterator[tuple[str, bytes | None]]:
        """Yield the files of objects, and keep those of removed ones."""
        for path, text in self._branch.read_all(_is_object_s):
            self._shards.learn(path)
            ref = object_of_path(path)
            if ref is not None and is_removed_path(path) and text is not None:
                removed[removed_path(ref)] = text
            yield path, text

    def _may_push(self) -> bool:
        """Check that the branch is this daemon's, before each push.

        Another daemon may have begun on the same branch since the last fetch. Raises
        WrongBranchError. A file that is none of a daemon's is written anew.
        """
        data = self._branch.read(SYNC_FILE)
        if data is not None and data != self._own:
            sync, _ = read_own_sync(data)
            if sync is not None:
                self._check_identity(sync)
            self._own = data
        return self._permission.leads()

    def _check_identity(self, sync: Sync) -> None:
        for name, mine in self._identity.items():
            theirs = getattr(sync, name)
            if theirs != mine:
                raise WrongBranchError(
                    f"the status branch belongs to a daemon with {name} {theirs!r}, this one has "
                    f"{mine!r}: give each its own cluster name, or if that daemon is gone set "
                    f"{name} to {mine!r} in sync.yaml on the branch"
                )

    def update(
        self,
        records: Mapping[ObjectRef, ObjectStatus],
        *,
        removed: Collection[ObjectRef],
        sync: Sync,
    ) -> None:
        """Take over the newest records; removed objects move to ``removed/``.

        A record that is equal to the last one is not replaced.
        """
        grown = bool(removed)
        for ref, record in records.items():
            known = self.records.get(ref)
            grown |= known is None
            newest = self._returned(record) if known is None else record
            if newest != known:
                self.ledger.learn_image_keys(newest)
                self._put(ref, newest)
        for ref in removed:
            known = self.records.pop(ref, None)
            if known is not None:
                self.ledger.removed_spent[ref] = known.spent
                self.phases.put(ref, None)
                self._pending[status_path(ref)] = None
                self._pending |= [self._removed.put(known)]
        if grown:
            self._divide()
        known_sync = self._sync
        if known_sync is None or _place(known_sync) != _place(sync):
            self._sync = sync
        else:
            # No commit of its own; it goes out with the next one.
            self._sync = replace(sync, head=known_sync.head)

    def _divide(self) -> None:
        """Write the files of folders that became too large into shards."""
        refs = {status_path(ref): ref for ref in self.records}
        removed = self._removed.files
        for path in self._shards.divide((*refs, *removed)):
            if path not in self._pending:
                data = removed[path] if path in removed else dump_record(self.records[refs[path]])
                self._pending[path] = data

    def verified(self, times: Mapping[TaskKey, datetime]) -> None:
        """Note when current artifacts were found to be as they were made."""
        for ref, record in list(self.records.items()) if times else ():
            artifact = record.artifact
            if artifact is not None and artifact.key in times:
                known = replace(artifact, verified=times[artifact.key])
                self._put(ref, replace(record, artifact=known))

    def removed_records(self) -> list[ObjectStatus]:
        """Return the statuses of removed objects, as far as they are believed."""
        return self._removed.records()

    def mark_artifact(self, key: TaskKey, mark: Callable[[HistoryEntry], HistoryEntry]) -> None:
        """Change an artifact's entries, in records of removed objects too."""
        self._mark(lambda entry: mark(entry) if _is_artifact(entry, key) else entry)

    def mark_attempts(self, key: TaskKey, at: datetime) -> None:
        """Note that what failed attempts at a key have left was removed."""
        self._mark(lambda e: replace(e, collected=at) if _is_failure(e, key) else e)

    def _mark(self, mark: Callable[[HistoryEntry], HistoryEntry]) -> None:
        for record in list(self.records.values()):
            marked = _marked(record, mark)
            if marked is not record:
                self._put(record.ref, marked)
        for record in self.removed_records():
            marked = _marked(record, mark)
            if marked is not record:
                self._pending |= [self._removed.put(marked)]

    def announce(self, records: Mapping[ObjectRef, ObjectStatus]) -> None:
        """Take over records of objects before a sync has its result."""
        for ref, record in records.items():
            self._put(ref, record)

    def report_collection(self, report: CollectionReport | None) -> bool:
        """Take over the result of a collection; returns whether it differs."""
        differs = report != self.collection
        if differs:
            self.collection = report
            data = dump_collection(report) if report is not None else None
            self._pending[COLLECTION_FILE] = data
        return differs

    def _put(self, ref: ObjectRef, record: ObjectStatus) -> None:
        self._newer[ref] = self.records[ref] = record
        self.phases.put(ref, record.phase)
        self._pending[status_path(ref)] = dump_record(record)

    @property
    def head(self) -> Commit | None:
        """The commit of the last sync, also of an earlier process."""
        return self._sync.head if self._sync is not None else None

    def beat(self, now: datetime) -> None:
        """Note that head is still what was synced; pushed once a HEARTBEAT."""
        if self._sync is not None:
            self._sync = replace(self._sync, observed=whole_seconds(now))

    def _returned(self, record: ObjectStatus) -> ObjectStatus:
        """Restore the kept history of an object that comes back."""
        path = removed_path(record.ref)
        if path not in self._removed.files:
            return record
        old = self._removed.record(path)
        del self._removed.files[path]
        self._pending[path] = None
        self.ledger.removed_spent.pop(record.ref, None)
        return with_history_of(record, old) if old is not None else record

    @property
    def dirty(self) -> bool:
        """True if a push would change anything."""
        sync, pushed = self._sync, self._sync_pushed
        if self._pending or sync is None or pushed is None:
            return bool(self._pending) or sync is not pushed
        since = sync.observed - pushed.observed
        # A time in the future was written before the clock was set back.
        return _place(sync) != _place(pushed) or not -CLOCK_SKEW <= since < HEARTBEAT

    async def flush(self) -> bool:
        """Push what changed; returns whether it records outcomes of runs.

        Raises GitError; nothing is lost then, the next flush has it all. Raises WrongBranchError.
        A cancelled flush ends with its push, as a thread cannot be cancelled: another push would
        work on the same repository beside it, and ``recorded`` would miss what it recorded.
        """
        pushing = asyncio.create_task(self._flush())
        try:
            return await asyncio.shield(pushing)
        except asyncio.CancelledError:
            await asyncio.wait([pushing])
            if not pushing.cancelled() and (error := pushing.exception()) is not None:
                log.warning("the status could not be pushed", error=str(error))
            raise

    async def _flush(self) -> bool:
        async with self._pushing:
            if not self.dirty or self._sync is None:
                return False
            outcomes = len(self._outcomes)
            changes, newer, sync = dict(self._pending), dict(self._newer), self._sync
            records = dict(self.records)
            message = self._message(changes, sync)
            changes[SYNC_FILE] = dump_sync(sync)
            changes[README_FILE] = self._readme.render(sync, records, self.phases)
            placed = self._shards.placed(changes)
            guard = self._may_push
            # Deleting or rewriting the branch does not change the records in memory.
            commit = await asyncio.to_thread(
                self._branch.push, placed, message, guard=guard, restore=_is_object_s
            )
            self._sync_pushed = sync
            for path, text in changes.items():
                if self._pending.get(path, b"") is text or self._pending.get(path) == text:
                    self._pending.pop(path, None)
            for ref, record in newer.items():
                self._outcomes.add(record)
                if self._newer.get(ref) is record:
                    del self._newer[ref]
            before, self._recorded = self._recorded, records
        if commit is not None:
            log.info("status pushed", commit=commit[:12], files=len(changes))
            self._on_recorded(before, records)
        return len(self._outcomes) > outcomes

    def _message(self, changes: Mapping[str, bytes | None], sync: Sync) -> str:
        paths = [path for path in changes if _is_object_s(path)] or list(changes)
        count = len(paths)
        if count == 1:
            path = paths[0].removesuffix(".yaml")
            subject = f"{path} at {sync.head[:12]}"
        else:
            subject = (
                f"{count} objects at {sync.head[:12]}" if count else f"Synced {sync.head[:12]}"
            )
        epoch = self._permission.epoch
        trailer = f"Reconciler-Epoch: {epoch}\n" if epoch is not None else ""
        return f"{subject} [skip ci]\n\nReconciler-Head: {sync.head}\n{trailer}"

    def recorded(self, runs: Mapping[str, Run]) -> Container[str]:
        """The names of ended runs whose outcome is in Git."""
        return self._outcomes.among(runs)


def _is_artifact(entry: HistoryEntry, key: TaskKey) -> bool:
    result = entry.image if entry.task is TaskKind.BUILD else entry.artifact
    made = entry.phase is TaskPhase.SUCCEEDED and result is not None
    return made and entry.key == key and not entry.gone


def _is_failure(entry: HistoryEntry, key: TaskKey) -> bool:
    failed = entry.phase is not TaskPhase.SUCCEEDED and entry.collected is None
    return failed and entry.key == key


def _marked(record: ObjectStatus, mark: Callable[[HistoryEntry], HistoryEntry]) -> ObjectStatus:
    """Return a record with marked entries; the same if none differs."""
    history = tuple(map(mark, record.history))
    same = all(map(operator.is_, history, record.history))
    return record if same else replace(record, history=history)


def _place(sync: Sync) -> tuple[Commit, RefusedHead | None, str]:
    """Return the parts whose change makes a status commit of its own."""
    return sync.head, sync.refused, sync.currency


def _is_object_s(path: str) -> bool:
    return object_of_path(path) is not None


def _log_faults(faults: Sequence[Problem]) -> None:
    for fault in faults[:_MOST_FAULTS]:
        log.warning(
            "not believed of the status branch",
            file=fault.location.file,
            field=fault.field,
            problem=fault.message,
        )
    if more := len(faults[_MOST_FAULTS:]):
        log.warning("more of the status branch is not believed", faults=more)
