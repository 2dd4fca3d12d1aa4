"""What builds and commands have in common: progress, retries, and one attempt's failure."""

from __future__ import annotations

import secrets
import shutil
import signal
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from reconciler.backoff import Backoff
from reconciler.engine import FailureClass, RunPhase
from reconciler.engines.local import state as states
from reconciler.engines.local.attempt import Attempt, End, Ended
from reconciler.engines.local.claim import Claim
from reconciler.engines.local.control import Control, Stop, poke
from reconciler.engines.local.job import Job
from reconciler.engines.local.launch import Command
from reconciler.engines.local.layout import Layout, RunDirectory
from reconciler.engines.local.logs import Output
from reconciler.engines.local.process import TOKEN, Identity
from reconciler.engines.local.state import State

_MAX_DELAY = 60.0
#: Below this many free bytes a command that failed is taken to have failed for want of them.
_DISK_FULL = 1 << 20
T = TypeVar("T")


class RunFailedError(Exception):
    """The run, or one attempt of it, failed. ``again``: another attempt may do better."""

    def __init__(self, reason: str, failure: FailureClass, *, again: bool = False) -> None:
        super().__init__(reason)
        self.failure = failure
        self.again = again


class StoppedError(Exception):
    """The run has to end before its command does."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.value)
        self.stop = stop


@dataclass(slots=True)
class Carrier:
    """A run being carried out. ``lost``: by a supervisor that was killed with a command begun."""

    job: Job
    layout: Layout
    run: RunDirectory
    control: Control
    state: State
    lost: bool

    def save(self, state: State) -> None:
        """Write the run's state, and tell the daemon."""
        self.state = state
        states.write(self.run.state, state)
        poke(self.layout.notify)

    def claim(self, name: str, waiting_for: str) -> Claim:
        """Take the claim of a key or environment, however long that takes. Raises StoppedError."""

        def wait() -> bool:
            reason = f"waiting for {waiting_for}"
            if self.state.phase is RunPhase.PENDING and self.state.reason != reason:
                self.save(replace(self.state, reason=reason))
            return self.control.wait(0.2)

        claim = Claim.take(self.layout.locks / name, self.run, wait)
        if claim is None:
            raise StoppedError(self.control.stop() or Stop.TERMINATED)
        return claim

    def not_lost(self) -> None:
        """Raise RunFailedError if an earlier supervisor began a command: it is never run on."""
        if self.lost:
            raise RunFailedError(
                "the run's supervisor was lost, probably by a reboot or for want of memory",
                FailureClass.INFRASTRUCTURE,
            )

    def with_retries(self, once: Callable[[], T]) -> T:
        """Do something until it succeeds or the run's retries are used up."""
        while True:
            try:
                return once()
            except RunFailedError as failure:
                if not failure.again or self.state.tries > self.job.retries:
                    raise
                retry = Backoff(first=self.job.retry_delay, longest=_MAX_DELAY)
                delay = retry.delay(self.state.tries)
                self.save(replace(self.state, reason=f"{failure}; next attempt in {delay:.0f} s"))
                self._pause(delay)

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.control.wait(left)
            if (stop := self.control.stop()) is not None:
                raise StoppedError(stop)

    def begin(self, *, attempt: int, log: Path) -> Output:
        """Number an attempt by creating its log, and write down that it begins."""
        log.parent.mkdir(parents=True, exist_ok=True)
        output = Output.create(log)
        self.save(
            replace(
                self.state,
                phase=RunPhase.RUNNING,
                reason="",
                tries=self.state.tries + 1,
                attempts=attempt,
                started=self.state.started or states.now(),
                log=str(log),
            )
        )
        return output

    def attempt(
        self,
        commands: Sequence[Command],
        output: Output,
        claims: Sequence[Claim],
        *,
        timeout: float,
        place: Path,
        secret: Collection[str] = (),
    ) -> None:
        """Run commands to their end. Raises RunFailedError, StoppedError and what Attempt raises.

        ``place`` is where they write: is that disk full, it is not the command that failed.
        """
        token = secrets.token_hex(16)

        def known(leaders: Sequence[Identity]) -> None:
            for claim in claims:
                claim.note(token, leaders)

        if (stop := self.control.stop()) is not None:
            raise StoppedError(stop)
        ended = Attempt(
            token=token,
            commands=[replace(c, env={**c.env, TOKEN: token}) for c in commands],
            output=output,
            control=self.control,
            timeout=timeout,
            grace=self.job.grace,
            inherit=[claim.lock.handle for claim in claims],
            known=known,
        ).run()
        for claim in claims:
            claim.clear()
        if ended.stop is not None:
            raise StoppedError(ended.stop)
        if ended.end is not End.SUCCEEDED:
            full = output.disk_full or _free(place) < _DISK_FULL
            raise self._failure(ended, commands[0].argv[0], output, secret, full=full)

    def _failure(
        self, ended: Ended, name: str, output: Output, secret: Collection[str], *, full: bool
    ) -> RunFailedError:
        name = Path(name).name if self.job.is_build else name
        who = f"{name} (rank {ended.rank})" if self.job.nodes > 1 else name
        if ended.end is End.TIMED_OUT:
            what = f"{name} was ended after its timeout of {self.job.timeout:g} s"
        elif ended.code < 0:
            what = f"{who} was killed by {_signal(-ended.code)}"
            if -ended.code == signal.SIGKILL:
                what += ", perhaps for want of memory"
        else:
            what = f"{who} ended with exit code {ended.code}"
        output.note(what)
        if full:
            return RunFailedError(f"the disk is full; {what}", FailureClass.INFRASTRUCTURE)
        last = output.last_lines(5 if self.job.is_build else 1, secret)
        reason = f"{what}: {last}" if last else what
        return RunFailedError(reason, FailureClass.COMMAND, again=True)


def _free(place: Path) -> int:
    """Bytes that are free where a command wrote, which may have removed that folder."""
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
