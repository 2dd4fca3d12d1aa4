"""Exports of builds' sources into the directories of their runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from reconciler.engine import FailureClass
from reconciler.engines.local import state as states
from reconciler.engines.local.build import image_result
from reconciler.engines.local.fsync import remove_tree, sync_directory, sync_tree
from reconciler.engines.local.layout import RootLayout
from reconciler.engines.local.run_store import RunRecord, RunStore
from reconciler.engines.local.state import RunState
from reconciler.errors import ReconcilerError
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import BuildContext

#: Writes the tree of a build context into an empty directory; blocks, and may raise anything.
Export = Callable[[BuildContext, Path], None]

_log = structlog.get_logger(__name__)


class SourceExports:
    """The exports that are going on.

    ``done`` is called with the record of each that has ended, and with True if the run can go on:
    with False, what has come of it could not be written, and is tried again at the next poll.
    ``containers``: images are container images.
    """

    def __init__(
        self,
        layout: RootLayout,
        store: RunStore,
        export: Export,
        *,
        at_once: int,
        done: Callable[[RunRecord, bool], None],
        containers: bool,
    ) -> None:
        self._layout = layout
        self._store = store
        self._export = export
        self._done = done
        self._containers = containers
        self._turn = asyncio.Semaphore(at_once)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = False

    def needed(self, record: RunRecord) -> bool:
        """Return whether a run cannot start without an export."""
        if record.spec.build is None or record.directory.source.exists():
            return False
        image = self._layout.image(record.spec.key)
        return image_result(image, containers=self._containers) is None

    def start(self, record: RunRecord) -> None:
        """Start the export of a run that waits for one."""
        name = record.spec.name
        if name in self._tasks or record.gpus is not None or record.ended or record.deleting:
            return
        if record.spec.build is None or not self.needed(record):
            return
        if record.waiting is None or record.waiting.code is not ReasonCode.ENGINE_UNAVAILABLE:
            record.waiting = Reason.of(ReasonCode.FETCHING_SOURCE)
        task = asyncio.create_task(self._fetch(record, record.spec.build), name=f"export {name}")
        self._tasks[name] = task
        task.add_done_callback(lambda task: self._fetched(record, task))

    def cancel(self) -> list[asyncio.Task[None]]:
        """Cancel all exports; returns what is to be awaited."""
        self._stopping = True
        for task in self._tasks.values():
            task.cancel()
        return list(self._tasks.values())

    def resume(self) -> None:
        """Allow exports again after a cancellation."""
        self._stopping = False
        self._tasks.clear()

    def _fetched(self, record: RunRecord, task: asyncio.Task[None]) -> None:
        name = record.spec.name
        self._tasks.pop(name, None)
        error = task.exception() if not task.cancelled() else None
        if error is not None:
            _log.warning("a source cannot be kept", run=name, error=str(error))
            detail = f"the source cannot be kept: {error}"
            record.waiting = Reason.of(ReasonCode.ENGINE_UNAVAILABLE, detail=detail)
        self._done(record, error is None)

    async def _fetch(self, record: RunRecord, context: BuildContext) -> None:
        """Export a build's source into the run's directory, or fail the run."""
        async with self._turn:
            await asyncio.to_thread(self._fetch_now, record, context)

    def _fetch_now(self, record: RunRecord, context: BuildContext) -> None:
        folder = None
        try:
            folder = Path(self._store.new_export())
            self._export(context, folder)
            # A folder is renamed whole even if what is in it has not reached the disk.
            sync_tree(folder)
            # Under the run's own directory it is the run's; without that directory nothing is kept.
            folder.rename(record.directory.source)
            sync_directory(record.directory.path)
        except Exception as error:  # noqa: BLE001 - any error is the reason
            run = record.directory
            if not self._stopping and run.path.exists() and not run.source.exists():
                state = (record.state or RunState()).failed(*_source_failure(error))
                states.write(record.directory.state, state)
                record.refresh()
        finally:
            if folder is not None:
                remove_tree(folder)


def _source_failure(error: Exception) -> tuple[Reason, FailureClass]:
    """Return the reason and class of a source that was not exported."""
    if isinstance(error, ReconcilerError) and error.permanent:
        reason = Reason.of(ReasonCode.SOURCE_INVALID, detail=f"the source cannot be used: {error}")
        return reason, FailureClass.COMMAND
    detail = f"the source could not be fetched: {error}"
    return Reason.of(ReasonCode.SOURCE_UNAVAILABLE, detail=detail), FailureClass.INFRASTRUCTURE
