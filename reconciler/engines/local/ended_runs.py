"""Runs that a user ends, beside the daemon and without a commit.

The request is a file in the run's folder. The supervisor ends the command as it does for a daemon,
and the run has failed then: as any failure of a command it is remembered, until the inputs or the
settings of the task change. So no sync starts it again, whether or not a daemon runs now.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from reconciler.engine import EndRequest
from reconciler.engines.local.end_request import request_end
from reconciler.engines.local.layout import RootLayout, RunDirectory
from reconciler.engines.local.run_store import RunRecord
from reconciler.engines.local.spec import SpecError
from reconciler.engines.local.tries import is_try
from reconciler.types import ObjectRef, TaskKey, TaskKind


@dataclass(frozen=True, slots=True)
class LocalRun:
    """A run that is under way, as its folder has it."""

    record: RunRecord

    @property
    def object(self) -> ObjectRef | None:
        """The object that it is of."""
        return self.record.spec.object

    @property
    def task(self) -> TaskKind:
        """The task that it is of."""
        return self.record.spec.task

    @property
    def key(self) -> TaskKey:
        """The key that it makes."""
        return self.record.spec.key

    @property
    def started(self) -> datetime | None:
        """The start of its newest command."""
        return self.record.state.started if self.record.state is not None else None

    def end(self, request: EndRequest) -> None:
        """Ask the supervisor to end it; the first request counts. Raises OSError."""
        request_end(self.record.directory, request)

    @property
    def ended(self) -> bool:
        """True once nothing of it is left running."""
        self.record.refresh()
        return self.record.ended or not self.record.directory.spec.exists()


def live_runs(root: Path) -> Iterator[LocalRun]:
    """Yield the runs of objects that have not ended.

    Those of builds, which several objects may share, and of tries are not among them. What cannot
    be read is passed over.
    """
    folder = RootLayout(root.resolve()).runs
    try:
        names = sorted(each.name for each in folder.iterdir())
    except OSError:
        return
    for name in names:
        try:
            record = RunRecord.load(RunDirectory(folder / name))
        except (OSError, ValueError, SpecError):
            continue
        over = record.ended or record.deleting
        if not over and record.spec.object is not None and not is_try(name):
            yield LocalRun(record)
