"""Events of a supervisor: cancellation, shutdown, the end of a child."""

from __future__ import annotations

import contextlib
import enum
import os
import select
import signal
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.engines.local.layout import RunDirectory

#: Seconds after which the files are checked without an event.
_HEARTBEAT = 1.0


class Stop(enum.Enum):
    """The cause for a run to end before its command does."""

    CANCELLED = enum.auto()
    ENDED = enum.auto()
    TERMINATED = enum.auto()


@dataclass(slots=True)
class Control:
    """The wake-up and stop events. One per process: it takes the signals."""

    run: RunDirectory
    _fifo: int = -1
    _signals: int = -1
    _terminated: bool = field(default=False)

    def open(self) -> None:
        """Take the signals and open the FIFO."""
        with contextlib.suppress(FileExistsError):
            os.mkfifo(self.run.control, 0o600)
        # Opened for writing too: it then never reports an end of file.
        self._fifo = os.open(self.run.control, os.O_RDWR | os.O_NONBLOCK)
        self._signals, write = os.pipe()
        os.set_blocking(self._signals, False)
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._terminate)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _terminate(self, *_: object) -> None:
        self._terminated = True

    @property
    def handles(self) -> tuple[int, int]:
        """The descriptors that an event makes readable; :meth:`stop` drains them."""
        return (self._fifo, self._signals)

    def stop(self) -> Stop | None:
        """Return the cause to stop, if any."""
        for handle in self.handles:
            with contextlib.suppress(BlockingIOError):
                while os.read(handle, 4096):
                    pass
        if self.run.cancel.exists():
            return Stop.CANCELLED
        if self.run.end.exists():
            return Stop.ENDED
        return Stop.TERMINATED if self._terminated else None

    def wait(self, seconds: float) -> bool:
        """Wait for an event, at most ``seconds``. False once to stop."""
        if self.stop() is None:
            select.select(self.handles, (), (), min(seconds, _HEARTBEAT))
        return self.stop() is None


def poke(fifo: Path) -> None:
    """Wake the reader of the FIFO, if any.

    A reader checks the files at its start, so nothing is missed without one.
    """
    try:
        handle = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return
    try:
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(handle, b".")
    finally:
        os.close(handle)
