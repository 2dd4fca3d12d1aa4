"""One attempt: the ranks of a command, until no process is left."""

from __future__ import annotations

import contextlib
import enum
import os
import selectors
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from reconciler.engines.local.control import Control, Stop
from reconciler.engines.local.failures import StillRunningError
from reconciler.engines.local.launch import Launched, RankCommand, launch
from reconciler.engines.local.logs import Output
from reconciler.engines.local.process import ProcessIdentity, kill, members
from reconciler.engines.local.process_workload import ProcessWorkload
from reconciler.engines.local.progress import AttemptProgress
from reconciler.engines.local.reports import ReportListener
from reconciler.engines.local.runtime import Workload

#: Seconds that background processes of a successful command are given to end by themselves:
#: enough for a tee to write its last lines.
_LINGER = 1.0
_KILL_PATIENCE = 30.0
_READ = 1 << 16


class End(enum.Enum):
    """The end of an attempt."""

    SUCCEEDED = enum.auto()
    FAILED = enum.auto()
    TIMED_OUT = enum.auto()
    STALLED = enum.auto()
    STOPPED = enum.auto()


@dataclass(frozen=True, slots=True)
class Ended:
    """The outcome of an attempt.

    ``rank`` and ``code`` are of the first rank that failed.
    """

    end: End
    rank: int = 0
    code: int = 0
    stop: Stop | None = None


@dataclass(slots=True)
class _Rank:
    number: int
    process: Launched
    code: int | None = None
    partial: bytearray = field(default_factory=bytearray)


@dataclass(slots=True, kw_only=True)
class Attempt:
    """Commands that run side by side as one, and what they report.

    ``record`` is called with the processes before any of them becomes its command. ``inherit``
    are descriptors that they keep open. ``timeout`` and ``grace`` are in seconds; ``stall`` is the
    longest time without output and without progress, None for no bound. ``workload`` is what the
    commands start beside their processes.
    """

    token: str
    commands: Sequence[RankCommand]
    output: Output
    control: Control
    timeout: float
    grace: float
    inherit: Sequence[int]
    record: Callable[[Sequence[ProcessIdentity]], None]
    workload: Workload = field(default_factory=ProcessWorkload)
    stall: float | None = None
    progress: AttemptProgress | None = None
    reports: ReportListener | None = None
    _ranks: list[_Rank] = field(default_factory=list)
    _sign_of_life: float = field(default_factory=time.monotonic)

    def run(self) -> Ended:
        """Run the attempt. No process of it is left afterwards.

        Raises CommandError, LaunchError, StillRunningError and OSError.
        """
        selector = selectors.DefaultSelector()
        try:
            for number, command in enumerate(self.commands):
                self._ranks.append(_Rank(number, launch(command, self.inherit)))
            for rank in self._ranks:
                selector.register(rank.process.output, selectors.EVENT_READ, rank)
                if rank.process.result is not None:
                    report = partial(self._take_code, selector, rank, rank.process.result)
                    selector.register(rank.process.result, selectors.EVENT_READ, report)
            for handle in self.control.handles:
                selector.register(handle, selectors.EVENT_READ)
            if self.reports is not None:
                self.reports.register(selector)
            self.record([rank.process.identity for rank in self._ranks])
            for rank in self._ranks:
                rank.process.go()
            for rank in self._ranks:
                rank.process.confirm()
            ended = self._watch(selector)
            if ended.end is End.SUCCEEDED:
                self._linger(selector)
        finally:
            try:
                self._kill_all()
                self._drain()
            finally:
                selector.close()
                for rank in self._ranks:
                    rank.process.close()
        return ended

    def _take_code(self, selector: selectors.BaseSelector, rank: _Rank, result: int) -> None:
        """Take an isolated command's exit code; its leader may go on."""
        code = os.read(result, 1)
        selector.unregister(result)
        if code and rank.code is None:
            rank.code = code[0]

    def _watch(self, selector: selectors.BaseSelector) -> Ended:
        self._sign_of_life = time.monotonic()
        deadline = self._sign_of_life + self.timeout
        ended: Ended | None = None
        while True:
            self._reap()
            if self.progress is not None and self.progress.poll():
                self._sign_of_life = time.monotonic()
            stop = self.control.stop()
            if ended is None:
                ended = self._over(deadline, stop)
                if ended is not None and ended.end is not End.SUCCEEDED:
                    self._terminate()
                    deadline = time.monotonic() + self.grace
            alive = any(rank.code is None for rank in self._ranks)
            if ended is not None and (not alive or time.monotonic() >= deadline):
                return ended
            wait = 1.0 if self.progress is None else self.progress.wait
            self._read(selector, min(wait, max(0.0, deadline - time.monotonic())))

    def _over(self, deadline: float, stop: Stop | None) -> Ended | None:
        failed = next((rank for rank in self._ranks if rank.code), None)
        if failed is not None and failed.code is not None:
            return Ended(End.FAILED, rank=failed.number, code=failed.code)
        if all(rank.code == 0 for rank in self._ranks):
            return Ended(End.SUCCEEDED)
        if stop is not None:
            return Ended(End.STOPPED, stop=stop)
        if time.monotonic() >= deadline:
            return Ended(End.TIMED_OUT)
        if self.stall is not None and time.monotonic() - self._sign_of_life >= self.stall:
            return Ended(End.STALLED)
        return None

    def _terminate(self) -> None:
        for rank in self._ranks:
            # Its id is still its own: it is our child and has not been reaped.
            if rank.code is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(rank.process.identity.pid, signal.SIGTERM)

    def _reap(self) -> None:
        """Collect the exit codes of ranks, and reap adopted orphans."""
        by_pid = {rank.process.identity.pid: rank for rank in self._ranks}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in by_pid and by_pid[pid].code is None:
                by_pid[pid].code = os.waitstatus_to_exitcode(status)

    def _read(self, selector: selectors.BaseSelector, timeout: float) -> None:
        """Copy output, waiting for an event at most ``timeout`` seconds."""
        for key, _ in selector.select(timeout):
            if isinstance(key.data, _Rank):
                copied = self._copy(key.data)
                if copied == 0:
                    selector.unregister(key.fd)
                elif copied:
                    self._sign_of_life = time.monotonic()
            elif key.data is not None:
                key.data()

    def _copy(self, rank: _Rank) -> int | None:
        """Copy one piece of a rank's output.

        Return its length, 0 at the end, None if there is none now.
        """
        try:
            data = os.read(rank.process.output, _READ)
        except BlockingIOError:
            return None
        if len(self._ranks) == 1:
            self.output.write(data)
            return len(data)
        # Of several ranks whole lines are written, each with its rank before it.
        rank.partial += data
        cut = len(rank.partial) if not data or len(rank.partial) > _READ else 0
        cut = cut or rank.partial.rfind(b"\n") + 1
        for line in bytes(rank.partial[:cut]).splitlines():
            self.output.write(b"[rank %d] %s\n" % (rank.number, line))
        del rank.partial[:cut]
        return len(data)

    def _linger(self, selector: selectors.BaseSelector) -> None:
        """Wait for the output's end, which background processes may delay."""
        deadline = time.monotonic() + _LINGER
        while (left := deadline - time.monotonic()) > 0:
            if not any(isinstance(key.data, _Rank) for key in selector.get_map().values()):
                return
            self._read(selector, left)
            self._reap()
            self.control.stop()

    def _kill_all(self) -> None:
        leaders = [rank.process.identity for rank in self._ranks]
        killed = kill(lambda: members(self.token, leaders, own=True), self._reap, _KILL_PATIENCE)
        self.workload.end()
        if not killed:
            raise StillRunningError(
                "processes of the command cannot be killed (they wait for a device)"
            )
        self._reap()

    def _drain(self) -> None:
        # All writers are dead, so a pipe holds at most what fits into it, and then its end.
        for rank in self._ranks:
            while self._copy(rank):
                pass
