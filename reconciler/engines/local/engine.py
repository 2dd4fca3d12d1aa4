"""The engine in the daemon: it records runs, schedules them, starts supervisors.

One worker makes every change of a run's course, a step at a time and in a thread, as a step
writes files durably. The worker of a later daemon can repeat any step.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import structlog

from reconciler.backoff import Backoff
from reconciler.engine import Capacity, Collected, EngineError, Result, Run, RunSpec, Wanted
from reconciler.engines.local.build import image_result
from reconciler.engines.local.collection import LocalCollection
from reconciler.engines.local.container_sweep import Containers, ContainerSweep
from reconciler.engines.local.control import poke
from reconciler.engines.local.failures import RunFailedError
from reconciler.engines.local.isolation_request import IsolationRequest
from reconciler.engines.local.layout import LayoutError, RootLayout, path_of
from reconciler.engines.local.listing import list_url
from reconciler.engines.local.locks import FileLock, is_locked
from reconciler.engines.local.marker import read_marker
from reconciler.engines.local.run_store import RunRecord, RunStore, check_spec
from reconciler.engines.local.scheduler import (
    ActiveRun,
    Machine,
    Queued,
    find_gpus,
    schedule,
)
from reconciler.engines.local.scrub import is_as_made, is_lost
from reconciler.engines.local.source_exports import Export, SourceExports
from reconciler.engines.local.spec import Allocation, SpecError
from reconciler.engines.local.supervisors import Supervisors
from reconciler.engines.local.tries import end_tries, is_try
from reconciler.engines.local.use import in_use
from reconciler.reasons import Reason, ReasonCode
from reconciler.signing import SigningFiles
from reconciler.types import BucketSource, DataListing, TaskKey, TaskKind, Verify

_log = structlog.get_logger(__name__)
_NAME = re.compile(r"[a-z0-9][-a-z0-9.]{0,199}")
_RESPAWN = Backoff(first=2.0, longest=60.0)
#: Seconds that a daemon which is just ending is given to release the root.
_LOCK_PATIENCE = 5.0


class LocalEngine:
    """Runs as processes of this machine.

    ``root`` has all files of the engine. ``secrets`` is the folder with ``<name>/<key>``.
    ``gpus`` is their number; None detects it. ``grace`` seconds pass between TERM and KILL,
    ``retry_delay`` before the second attempt (doubled for each later one, up to 60), ``poll``
    between checks for supervisors that were killed; other changes are events. Images and
    environments are collected once they were not used for ``keep``; None keeps them. ``verify`` is
    how runs check what they mount, by the URLs of buckets; ``signing`` are the keys of artifacts.
    ``containers`` makes runs containers; None makes them processes, whose ``isolation`` is tried at
    the start.
    """

    def __init__(
        self,
        root: Path,
        *,
        slots: int,
        export: Export,
        secrets: Path | None = None,
        gpus: int | None = None,
        grace: float = 10.0,
        retry_delay: float = 1.0,
        poll: float = 1.0,
        keep: timedelta | None = None,
        verify: Mapping[str, Verify] | None = None,
        signing: SigningFiles | None = None,
        containers: Containers | None = None,
        isolation: IsolationRequest | None = None,
    ) -> None:
        self._layout = RootLayout(root.resolve())
        self._store = RunStore(self._layout)
        self._terms = Allocation(
            secrets=str(secrets.absolute()) if secrets else None,
            grace=grace,
            retry_delay=retry_delay,
            verify=verify or {},
            signing=signing or SigningFiles(),
        )
        self._containers = containers
        self._isolation = isolation or IsolationRequest()
        self._slots = max(1, slots)
        self._gpus = gpus
        self._poll = poll
        self._machine = Machine(self._slots, ())
        self._records: dict[str, RunRecord] = {}
        self._runs: dict[str, Run] = {}
        self._supervisors = Supervisors()
        self._exports = SourceExports(
            self._layout,
            self._store,
            export,
            at_once=self._slots,
            done=self._exported,
            containers=containers is not None,
        )
        self._changed: Callable[[], None] = lambda: None
        self._wake = asyncio.Event()
        self._keep = keep
        self._collections: set[asyncio.Task[list[Collected]]] = set()
        self._lock: FileLock | None = None
        self._notify = -1
        self._worker: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def capacity(self) -> Capacity:
        """Containers if they are configured, and this machine's GPUs; valid once started."""
        return Capacity(containers=self._containers is not None, gpus=len(self._machine.gpus))

    async def start(self, changed: Callable[[], None]) -> None:
        """Adopt the runs of an earlier daemon; then report each change.

        ``changed`` is called whenever a run changes.
        Raises EngineError where the root cannot be used, or another daemon uses it.
        """
        try:
            await asyncio.to_thread(self._open)
        except (LayoutError, RunFailedError) as error:
            refused = Reason.of(ReasonCode.RUN_REFUSED, detail=str(error))
            raise EngineError(refused, permanent=True) from error
        except OSError as error:
            raise _unavailable(f"{self._layout.root} cannot be used: {error}") from error
        enforced = "disk of a run is" if self._containers else "memory, disk and shm of a run are"
        _log.info(
            f"the local engine has started; {enforced} not enforced",
            runtime=self._containers.program if self._containers else "process",
            root=str(self._layout.root),
            slots=self._slots,
            gpus=len(self._machine.gpus),
            runs=len(self._records),
        )
        if self._containers is None:
            self._isolation.log(self._terms.isolation)
        self._changed = changed
        self._stopping = False
        self._exports.resume()
        asyncio.get_running_loop().add_reader(self._notify, self._notified)
        self._runs = {name: record.run() for name, record in self._records.items()}
        self._wake.set()
        self._worker = asyncio.create_task(self._work(), name="local engine")

    async def stop(self) -> None:
        """Stop watching. Runs go on; a later daemon adopts them."""
        if self._worker is None:
            return
        self._stopping = True
        self._wake.set()
        worker, self._worker = self._worker, None
        exports = self._exports.cancel()
        try:
            # Not cancelled: a step that is under way ends before the root is released.
            await worker
        finally:
            await asyncio.gather(*exports, return_exceptions=True)
            await asyncio.gather(*self._collections, return_exceptions=True)
            asyncio.get_running_loop().remove_reader(self._notify)
            os.close(self._notify)
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    def runs(self) -> Mapping[str, Run]:
        """Every run by name, without those of tries; never blocks."""
        return {name: run for name, run in self._runs.items() if not is_try(name)}

    def tries(self) -> Mapping[str, Run]:
        """The runs of tries by name, as of now; never blocks."""
        return {name: run for name, run in self._runs.items() if is_try(name)}

    async def create(self, spec: RunSpec) -> None:
        """Create the run, or adopt the one of that name. Raises EngineError."""
        self._check_running()
        if not _NAME.fullmatch(spec.name):
            detail = f'"{spec.name[:80]}" cannot be the name of a run'
            raise EngineError(Reason.of(ReasonCode.RUN_REFUSED, detail=detail), permanent=True)
        record = self._records.get(spec.name)
        if record is None:
            try:
                record = await asyncio.to_thread(self._add, spec)
            except (OSError, ValueError, SpecError) as error:
                raise _unavailable(f"the run cannot be written: {error}") from error
            record = self._records.setdefault(spec.name, record)
        if record.deleting:
            raise _unavailable(f"an earlier run {spec.name} is still being ended")
        self._publish([record])
        self._wake.set()

    def _add(self, spec: RunSpec) -> RunRecord:
        image = path_of(spec.image or "")
        with ExitStack() as stack:
            if image is not None and image.parent == self._layout.images:
                stack.enter_context(in_use(self._layout, image.name))
            check_spec(spec, self._layout, containers=self._containers is not None)
            return self._store.add(spec)

    async def delete(self, name: str) -> None:
        """End the run if it is live and forget it. Raises EngineError."""
        self._check_running()
        record = self._records.get(name)
        if record is None:
            return
        if not record.deleting:
            try:
                await asyncio.to_thread(self._store.cancel, record)
            except OSError as error:
                if self._records.get(name) is not record:
                    return
                raise _unavailable(f"the run cannot be cancelled: {error}") from error
            record.deleting = True
        poke(record.directory.control)
        self._publish([record])
        self._wake.set()

    async def recover(self, wanted: Iterable[Wanted]) -> Mapping[TaskKey, Result]:
        """Images and artifacts that are complete on disk."""
        return await asyncio.to_thread(self._recover, list(wanted))

    async def lost(self, artifacts: Iterable[Wanted]) -> frozenset[TaskKey]:
        """Return the keys of artifacts that are certainly gone or damaged."""
        places = {item.key: path_of(item.url) for item in artifacts if item.url}
        return await asyncio.to_thread(
            lambda: frozenset(k for k, path in places.items() if path and is_lost(path, k))
        )

    async def verify(self, artifact: Wanted) -> bool | None:
        """Compare an artifact with its marker; None if it cannot be read."""
        path = path_of(artifact.url or "")
        if path is None:
            return None
        signed = self._terms.verified(artifact.url or "") is Verify.SIGNATURE
        return await is_as_made(path, artifact.key, self._terms.signing if signed else None)

    async def list_data(self, source: BucketSource) -> DataListing:
        """List a folder of this machine. Raises EngineError."""
        return await asyncio.to_thread(list_url, source.url)

    async def collect(self, images: AbstractSet[str]) -> Sequence[Collected]:
        """Remove images and environments that nothing has used for long."""
        self._check_running()
        if self._keep is None:
            return ()
        live = [record.spec for record in self._records.values() if not record.ended]
        needed = images | {used for spec in live for used in (spec.key, spec.image) if used}
        collector = LocalCollection(self._layout, self._keep, stopped=lambda: self._stopping)

        def collect() -> list[Collected]:
            found = collector.collect(needed)
            if self._containers is not None:
                ContainerSweep(self._layout, self._containers.program).all()
            return found

        # Not cancelled with its caller: no other daemon may use the root before it has ended.
        task = asyncio.create_task(asyncio.to_thread(collect))
        self._collections.add(task)
        task.add_done_callback(self._collections.discard)
        return await asyncio.shield(task)

    def _recover(self, wanted: Iterable[Wanted]) -> dict[TaskKey, Result]:
        found = {}
        for task in wanted:
            result = None
            if task.task is TaskKind.BUILD:
                image = self._layout.image(task.key)
                result = image_result(image, containers=self._containers is not None)
            elif task.url and (path := path_of(task.url)) is not None:
                marker = read_marker(path, task.key)
                result = marker.result(task.url) if marker else None
            if result is not None:
                found[task.key] = result
        return found

    def _open(self) -> None:
        layout = self._layout
        layout.prepare()
        lock = FileLock.take(layout.daemon_lock, patience=_LOCK_PATIENCE)
        if lock is None:
            raise LayoutError(f"another daemon uses {layout.root}; give each its own local.root")
        try:
            if self._gpus is None:
                self._machine = Machine(self._slots, find_gpus())
            else:
                self._machine = Machine(self._slots, tuple(map(str, range(self._gpus))))
            with contextlib.suppress(FileExistsError):
                os.mkfifo(layout.notify, 0o600)
            self._records = self._store.load()
            end_tries(self._store, self._records.values())
            if self._containers is not None:
                terms = self._containers.terms()
                self._terms = replace(self._terms, containers=terms)
                ContainerSweep(self._layout, terms.program).containers()
            else:
                self._terms = replace(self._terms, isolation=self._isolation.terms())
            # Opened for writing too: it then never reports an end of file.
            self._notify = os.open(layout.notify, os.O_RDWR | os.O_NONBLOCK)
        except BaseException:
            lock.release()
            raise
        self._lock = lock

    def _check_running(self) -> None:
        if self._worker is None:
            raise _unavailable("the local engine has not been started")
        if self._worker.done():
            raise _unavailable("the local engine has stopped working; see the daemon's log")

    def _notified(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._notify, 4096):
                pass
        self._wake.set()

    def _publish(self, records: Iterable[RunRecord], removed: Iterable[RunRecord] = ()) -> None:
        """Publish the runs of records; notify the daemon of changes."""
        changes = [self._runs.pop(record.spec.name, None) for record in removed]
        for record in records:
            run, name = record.run(), record.spec.name
            if name in self._records and self._runs.get(name) != run:
                self._runs[name] = run
                changes.append(run)
        if changes:
            self._changed()

    def _exported(self, record: RunRecord, goes_on: bool) -> None:
        if self._records.get(record.spec.name) is record:
            self._publish([record])
        if goes_on:
            self._wake.set()

    async def _work(self) -> None:
        """Take a step whenever something may have changed, until stopped."""
        while not self._stopping:
            self._wake.clear()
            records = [r for r in self._records.values() if r.deleting or not r.ended]
            removed = await asyncio.to_thread(self._step, records)
            for record in removed:
                self._records.pop(record.spec.name, None)
            for record in records:
                self._exports.start(record)
            self._publish(records, removed)
            live = len(self._supervisors) or any(not r.ended for r in self._records.values())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._poll if live else None)

    def _step(self, records: Iterable[RunRecord]) -> list[RunRecord]:
        """Bring these runs forward, in a thread; returns those that were removed."""
        self._supervisors.reap()
        removed = []
        for record in records:
            with self._carefully(record):
                if record.active:
                    self._supervise(record)
                if record.deleting and not record.active and not is_locked(record.directory.lock):
                    self._store.remove(record)
                    removed.append(record)
        waiting = [r for r in records if r.gpus is None and not (r.ended or r.deleting)]
        ready = sorted(
            (r for r in waiting if not self._exports.needed(r)),
            key=lambda record: (record.created, record.spec.name),
        )
        by_name = {record.spec.name: record for record in ready}
        active = [
            ActiveRun(r.spec.key, self._machine.slots_for(r.spec.resources), r.gpus or ())
            for r in records
            if r.active
        ]
        for decision in schedule(self._machine, active, [record.spec for record in ready]):
            record = by_name[decision.name]
            if isinstance(decision, Queued):
                record.waiting = decision.reason
            else:
                record.waiting = None
                with self._carefully(record):
                    allocation = replace(self._terms, gpus=decision.gpus)
                    self._store.allocate(record, allocation)
                    self._supervise(record)
        return removed

    @contextlib.contextmanager
    def _carefully(self, record: RunRecord) -> Iterator[None]:
        """Confine an error (a full disk, say) to one run.

        The next step tries that run again.
        """
        try:
            yield
        except OSError as error:
            detail = f"the run cannot proceed: {error}"
            record.waiting = Reason.of(ReasonCode.ENGINE_UNAVAILABLE, detail=detail)
            _log.warning("a run cannot proceed", run=record.spec.name, error=str(error))

    def _supervise(self, record: RunRecord) -> None:
        """Start a supervisor for an allocated run that has none."""
        record.refresh()
        name, run = record.spec.name, record.directory
        if record.ended or self._supervisors.running(name) or is_locked(run.lock):
            return
        # It may have ended between the reading of its state and the test of its lock.
        if record.refresh() and record.ended:
            return
        now = time.monotonic()
        if now < record.spawn_at:
            return
        if record.spawns:
            detail = f"its supervisor has ended {record.spawns} times; see {run.supervisor_log}"
            record.waiting = Reason.of(ReasonCode.ENGINE_UNAVAILABLE, detail=detail)
            _log.warning("a run has lost its supervisor", run=name, log=str(run.supervisor_log))
            record.spawn_at = now + _RESPAWN.delay(record.spawns)
        record.spawns += 1
        self._supervisors.start(run)


def _unavailable(detail: str) -> EngineError:
    return EngineError(Reason.of(ReasonCode.ENGINE_UNAVAILABLE, detail=detail))
