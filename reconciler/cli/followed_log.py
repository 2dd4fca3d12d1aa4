"""The output of tasks as it is printed, until they have ended."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import click

from reconciler.backoff import Backoff, jittered
from reconciler.cli.terminal import VisibleLog, tell
from reconciler.config import Setup
from reconciler.daemon import followed_pod_logs
from reconciler.engine import EngineError, FollowedLogs, LogOf, OpenedLog
from reconciler.engines.local import FollowedFileLogs
from reconciler.git import GitError
from reconciler.planner import ObjectStatus, TaskPhase, TaskStatus
from reconciler.types import ObjectRef, TaskKey, TaskKind

#: Seconds between two looks at a log, and how many of them there are to one at the status.
INTERVAL = 0.5
STATUS_EVERY = 4
RETRY = Backoff(first=1.0, longest=30.0)
#: Failures in a row of a log that has not been read yet.
FIRST_TRIES = 3

_LIVE = (TaskPhase.PENDING, TaskPhase.WAITING, TaskPhase.RUNNING)


class _Records(Protocol):
    """The recorded objects."""

    @property
    def records(self) -> dict[ObjectRef, ObjectStatus]: ...


def live_task(
    record: ObjectStatus, kind: str | None = None, key: TaskKey | None = None
) -> TaskStatus | None:
    """Return the running task, else the next to run, or None."""
    live = [
        task
        for task in record.tasks
        if task.phase in _LIVE and kind in (None, task.task.value) and key in (None, task.key)
    ]
    running = (task for task in live if task.phase is TaskPhase.RUNNING)
    return next(running, live[0] if live else None)


def follow_log(
    setup: Setup | None,
    read: Callable[[], _Records],
    log: LogOf,
    *,
    lines: int,
    only: bool,
    key: TaskKey | None,
) -> None:
    """Print the output of a task until it ends.

    ``key`` is the task's, where it is known. Without ``only``, that of the tasks after it follows.

    Raises ClickException, EngineError and GitError.
    """
    printer = _Printer(log)
    following: LogOf | None = log
    while following is not None:
        logs: FollowedLogs
        if setup is not None and setup.config.engine == "kubernetes":
            logs = followed_pod_logs(setup, lines)
        else:
            logs = FollowedFileLogs(lines)
        ended = asyncio.run(_Following(_Watched(read, following, key), logs, printer).run())
        tell(f"==> {log.object}, {following.task}: {ended.outcome}", err=True)
        task = live_task(ended.record) if ended.record is not None and not only else None
        again = task is None or task.task is following.task
        following = None if again or task is None else replace(log, task=task.task, attempt=None)
        lines, key = 0, task.run_key or task.key if task is not None else None
    printer.end()


@dataclass(frozen=True, slots=True)
class _Look:
    """A task's recorded log, and its outcome once it has ended."""

    log: LogOf
    record: ObjectStatus | None
    outcome: str | None
    note: str = ""


class _Watched:
    """The status of one task, from its key on."""

    def __init__(self, read: Callable[[], _Records], log: LogOf, key: TaskKey | None) -> None:
        self._read = read
        self._log = log
        self._key = key

    def look(self) -> _Look:
        """Read the status again. Raises GitError."""
        record = self._read().records.get(self._log.object)
        if record is None:
            return _Look(self._log, None, "its manifest was removed")
        tasks = [each for each in record.tasks if each.task is self._log.task]
        named = (each for each in tasks if self._key in (each.key, each.run_key))
        task = next(named, next(iter(tasks), None))
        if task is None:
            return _Look(self._log, record, "its manifest asks for it no more")
        keys = {task.key, task.run_key}
        if self._key is not None and self._key not in keys:
            return _Look(self._log, record, f"superseded by the key {(task.key or '')[:12]}")
        self._key = self._key or task.run_key or task.key
        log = replace(self._log, run=task.job, url=task.log)
        if task.phase in _LIVE:
            return _Look(log, record, None, f"{task.phase}: {task.message or 'no output yet'}")
        why = f": {task.message}" if task.message else ""
        return _Look(log, record, f"{task.phase}{why}")


class _Following:
    """One task that is followed to its end."""

    def __init__(self, watched: _Watched, logs: FollowedLogs, printer: _Printer) -> None:
        self._watched = watched
        self._logs = logs
        self._printer = printer
        self._noted = ""

    async def run(self) -> _Look:
        """Print what comes until the task has ended."""
        failures = 0
        while True:
            # What was printed before the recorded end is there when the log is read after it.
            look = await self._look()
            for _ in range(STATUS_EVERY):
                try:
                    await self._drain(look.log)
                    failures = 0
                except EngineError as error:
                    failures += 1
                    if not self._printer.printed and failures >= FIRST_TRIES:
                        raise
                    self._note(str(error))
                    await asyncio.sleep(RETRY.delay(failures))
                if look.outcome is not None and not failures:
                    return look
                if self._logs.finished:
                    return replace(look, outcome="its attempt has ended", record=None)
                if not self._printer.printed:
                    self._note(look.note)
                await asyncio.sleep(jittered(INTERVAL))

    async def _look(self) -> _Look:
        failures = 0
        while True:
            try:
                look = await asyncio.to_thread(self._watched.look)
            except GitError as error:  # a remote that is away for a moment
                failures += 1
                self._note(str(error))
                await asyncio.sleep(RETRY.delay(failures))
                continue
            _check_place(look.log, self._logs)
            return look

    async def _drain(self, log: LogOf) -> None:
        pieces: AsyncGenerator[OpenedLog | bytes] = self._logs.poll(log)
        async with aclosing(pieces):
            async for piece in pieces:
                self._printer.write(log.task, piece)

    def _note(self, text: str) -> None:
        """Print a note, once for as long as it stays the same."""
        if text and text != self._noted:
            self._noted = text
            tell(f"Note: {text}", err=True)


def _check_place(log: LogOf, logs: FollowedLogs) -> None:
    """Raise ClickException for a log that cannot be followed from here."""
    if log.url is None or not isinstance(logs, FollowedFileLogs):
        return
    if urlsplit(log.url).scheme != "file":
        raise click.ClickException(
            f"the log is followed in its cluster, which only a configuration names: give it with "
            f"--config. Without -f, {log.url} is printed as far as it goes"
        )
    folder = Path(unquote(urlsplit(log.url).path)).parent
    if not folder.is_dir():
        raise click.ClickException(
            f"there is no folder {folder} here; the log is on the disk of the machine that runs "
            "it: call this command there"
        )


class _Printer:
    """Output of a log to a terminal or a pipe."""

    def __init__(self, log: LogOf) -> None:
        self._object = log.object
        self._screen = VisibleLog() if sys.stdout.isatty() else None
        self.printed = False

    def write(self, task: TaskKind, piece: OpenedLog | bytes) -> None:
        """Print a piece of a log, or where the next begins."""
        self.printed = True
        if isinstance(piece, OpenedLog):
            tell(f"==> {self._object}, {task}: {piece.where}", err=True)
        elif self._screen is not None:
            click.echo(self._screen.text(piece), nl=False)
        else:
            sys.stdout.buffer.write(piece)
            sys.stdout.flush()

    def end(self) -> None:
        """Print what was not yet a whole character."""
        if self._screen is not None:
            click.echo(self._screen.text(b"", final=True), nl=False)
