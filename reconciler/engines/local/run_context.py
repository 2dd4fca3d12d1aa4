"""The context of a run in its supervisor: progress, retries, attempts."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from reconciler.backoff import Backoff
from reconciler.engine import FailureClass, RunPhase, RunSpec
from reconciler.engines.local import state as states
from reconciler.engines.local.attempt import Attempt, End, Ended
from reconciler.engines.local.control import Control, Stop, poke
from reconciler.engines.local.end_request import end_reason
from reconciler.engines.local.failures import RunFailedError
from reconciler.engines.local.launch import RankCommand
from reconciler.engines.local.layout import RootLayout, RunDirectory
from reconciler.engines.local.locks import KeyLock
from reconciler.engines.local.logs import Output
from reconciler.engines.local.process import TOKEN, ProcessIdentity
from reconciler.engines.local.process_workload import ProcessWorkload
from reconciler.engines.local.program import windows_script
from reconciler.engines.local.progress import AttemptProgress
from reconciler.engines.local.reports import ReportListener
from reconciler.engines.local.runtime import Runtime, Workload
from reconciler.engines.local.spec import Allocation
from reconciler.engines.local.state import RunState, Stopwatch
from reconciler.reasons import Reason, ReasonCode

_MAX_DELAY = 60.0
#: Below this many free bytes a command that failed is assumed to have failed for lack of space.
_DISK_FULL = 1 << 20
#: The first signal without a name of its own.
_REAL_TIME = 32
T = TypeVar("T")


class StoppedError(RunFailedError):
    """The run has to end before its command does.

    A run that a user has ended does not begin again by itself.
    """

    def __init__(self, stop: Stop, run: RunDirectory) -> None:
        if stop is Stop.ENDED:
            super().__init__(end_reason(run), FailureClass.COMMAND)
        else:
            super().__init__(Reason.of(_STOPPED[stop]), FailureClass.INFRASTRUCTURE)


_STOPPED = {
    Stop.CANCELLED: ReasonCode.CANCELLED,
    Stop.TERMINATED: ReasonCode.SUPERVISOR_STOPPED,
}


@dataclass(slots=True)
class RunContext:
    """A run that is being executed.

    ``lost``: an earlier supervisor was killed after it had started a command.
    """

    spec: RunSpec
    allocation: Allocation
    layout: RootLayout
    run: RunDirectory
    control: Control
    state: RunState
    lost: bool
    runtime: Runtime
    clock: Stopwatch = field(default_factory=Stopwatch)

    def save(self, state: RunState) -> None:
        """Write the run's state and notify the daemon."""
        self.state = state
        states.write(self.run.state, state)
        poke(self.layout.notify)

    def lock(self, path: Path, waiting: ReasonCode) -> KeyLock:
        """Take the lock of a key or environment, without deadline. Raises StoppedError."""

        def wait() -> bool:
            if self.state.phase is RunPhase.PENDING and self.state.reason != waiting:
                self.save(self.state.because(Reason.of(waiting)))
            return self.control.wait(0.2)

        lock = KeyLock.take(path, self.run, wait)
        if lock is None:
            raise StoppedError(self.control.stop() or Stop.TERMINATED, self.run)
        return lock

    def not_lost(self) -> None:
        """Raise RunFailedError if an earlier supervisor started a command.

        The run of a lost supervisor is never continued.
        """
        if self.lost:
            lost = Reason.of(ReasonCode.SUPERVISOR_LOST)
            raise RunFailedError(lost, FailureClass.INFRASTRUCTURE)

    def with_retries(self, once: Callable[[], T]) -> T:
        """Call ``once`` until it succeeds or the run's retries are used up."""
        while True:
            try:
                return once()
            except RunFailedError as failure:
                if not failure.again or self.state.tries > self.spec.retries:
                    raise
                retry = Backoff(first=self.allocation.retry_delay, longest=_MAX_DELAY)
                delay = retry.delay(self.state.tries)
                again = Reason.of(ReasonCode.RETRYING_ATTEMPT, cause=failure.reason)
                self.save(self.state.because(again))
                self._pause(delay)

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.control.wait(left)
            if (stop := self.control.stop()) is not None:
                raise StoppedError(stop, self.run)

    def begin(self, *, attempt: int, log: Path) -> Output:
        """Number an attempt by creating its log; record its begin."""
        log.parent.mkdir(parents=True, exist_ok=True)
        output = Output.create(log)
        self.save(
            replace(
                self.state.because(None),
                phase=RunPhase.RUNNING,
                tries=self.state.tries + 1,
                attempts=attempt,
                started=self.state.started or self.clock.now(),
                log=str(log),
            )
        )
        return output

    def attempt(
        self,
        commands: Sequence[RankCommand],
        output: Output,
        locks: Sequence[KeyLock],
        *,
        timeout: float,
        place: Path,
        secret: Collection[str] = (),
        progress: AttemptProgress | None = None,
        reports: ReportListener | None = None,
        workload: Workload | None = None,
    ) -> None:
        """Run commands to their end. Raises RunFailedError and OSError.

        ``place`` is the folder that they write to: if that disk is full, the failure is not the
        command's. ``reports`` are given to ``progress``. ``workload`` is what runs beside them.
        """
        beside = workload or ProcessWorkload()
        token = beside.token

        def record(leaders: Sequence[ProcessIdentity]) -> None:
            for lock in locks:
                lock.record(token, leaders, containers=beside.program)

        if (stop := self.control.stop()) is not None:
            raise StoppedError(stop, self.run)
        ended = Attempt(
            token=token,
            commands=[replace(c, env={**c.env, TOKEN: token}) for c in commands],
            workload=beside,
            output=output,
            control=self.control,
            timeout=timeout,
            stall=self.spec.stall,
            progress=progress,
            reports=reports,
            grace=self.allocation.grace,
            inherit=[lock.lock.handle for lock in locks],
            record=record,
        ).run()
        for lock in locks:
            lock.clear()
        if ended.stop is not None:
            raise StoppedError(ended.stop, self.run)
        if ended.end is not End.SUCCEEDED:
            full = output.disk_full or _free(place) < _DISK_FULL
            if ended.end is End.FAILED and not full:
                refused = beside.refused(ended.rank, output.last_lines(3, secret))
                if refused is not None:
                    raise refused
            failed = _FailedAttempt(
                ended=ended, command=commands[0], starved=beside.starved(), full=full
            )
            raise self._failure(failed, output, secret)

    def _failure(
        self, failed: _FailedAttempt, output: Output, secret: Collection[str]
    ) -> RunFailedError:
        build = self.spec.build is not None
        text = self._described(failed)
        output.note(text)
        last = output.last_lines(5 if build else 1, secret)
        detail = f"{text}: {last}" if last else text
        if failed.full:
            no_space = Reason.of(ReasonCode.DISK_FULL, detail=detail)
            return RunFailedError(no_space, FailureClass.INFRASTRUCTURE)
        code = ReasonCode.BUILD_FAILED if build else ReasonCode.COMMAND_FAILED
        if failed.ended.end is End.TIMED_OUT:
            code = ReasonCode.DEADLINE_EXCEEDED
        elif failed.ended.end is End.STALLED:
            code = ReasonCode.STALLED
        elif failed.starved and not build:
            code = ReasonCode.OUT_OF_MEMORY
        return RunFailedError(Reason.read(code, detail), FailureClass.COMMAND, again=True)

    def _described(self, failed: _FailedAttempt) -> str:
        """Return the end of an attempt, in the wrapper's words."""
        ended, (name, *words) = failed.ended, failed.command.words
        if self.spec.build is not None:
            name = Path(name).name
        if ended.end is End.TIMED_OUT:
            return f"{name} was ended after its timeout of {self.spec.timeout:g} s"
        if ended.end is End.STALLED:
            return (
                f"{name} was ended, as it neither printed nor reported progress for "
                f"{self.spec.stall:g} s"
            )
        rank = f"{name} (rank {ended.rank})" if self.spec.resources.nodes > 1 else name
        # A shell gives the end of its last process as its own.
        code = 128 - ended.code if ended.code < 0 else ended.code
        if (killer := _signal(code - 128)) is None:
            text = f"{rank} ended with exit code {code}"
            if script := windows_script((name, *words), failed.command.cwd):
                text += f"; {script} has Windows line ends"
        else:
            text = f"{rank}, or a process that it started, was killed by {killer}"
        if failed.starved:
            return f"{text}; a process was killed for want of memory"
        return f"{text}, perhaps for want of memory" if killer == "SIGKILL" else text


@dataclass(frozen=True, slots=True, kw_only=True)
class _FailedAttempt:
    """A failed attempt of ``command``, its first rank's.

    ``starved``: the kernel killed a process for want of memory meanwhile. ``full``: the disk is.
    """

    ended: Ended
    command: RankCommand
    starved: bool
    full: bool


def _free(place: Path) -> int:
    """Return a disk's free bytes; the folder may be gone."""
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _signal(number: int) -> str | None:
    """Return the name of a signal; None if it has none."""
    try:
        return signal.Signals(number).name if number < _REAL_TIME else None
    except ValueError:
        return None
