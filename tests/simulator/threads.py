"""Threads of a simulation, of which one at a time has the turn."""

from __future__ import annotations

import asyncio
import itertools
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulator.loop import Process, SimulatedLoop

#: Seconds after which a thread looks at a lock again.
_TURN = 0.05


class _AbandonedError(BaseException):
    """Ends the thread of a process that was killed."""


_current = threading.local()


class _Worker:
    """A real thread, which does one piece of work after the other.

    It runs only while :meth:`give_turn` waits for it. Its locks are those of the interpreter: with
    semaphores, and a new thread for each piece of work, a seed takes a tenth more of a processor.
    """

    def __init__(self) -> None:
        self.work: Callable[[], None] = lambda: None
        self._turn, self._back = threading.Lock(), threading.Lock()
        self._turn.acquire()
        self._back.acquire()
        threading.Thread(target=self._run, daemon=True).start()

    def give_turn(self) -> None:
        """Let it run until it gives the turn back, or has done its work."""
        self._turn.release()
        self._back.acquire()

    def give_back(self) -> None:
        """Give the turn back, and wait for the next; called in the thread."""
        self._back.release()
        self._turn.acquire()

    def _run(self) -> None:
        while True:
            self._turn.acquire()
            self.work()
            _IDLE.append(self)
            self._back.release()


_IDLE: list[_Worker] = []


class SimulatedThread:
    """A thread that has the turn, or waits for it."""

    _numbers = itertools.count()

    def __init__(
        self,
        loop: SimulatedLoop,
        process: Process | None,
        future: asyncio.Future[Any],
        work: Callable[[], Any],
    ) -> None:
        self._number = next(self._numbers)
        self._loop = loop
        self._future = future
        self._work = work
        self._process = process
        self._pause: float | None = None
        self._abandoned = False
        self._ended: Callable[[], object] = lambda: None
        self._worker: _Worker | None = None
        if self._process is not None:
            self._process.threads.add(self)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other

    def go_on(self) -> None:
        """Give the thread the turn, until it waits or ends."""
        if self._worker is None:
            self._worker = _IDLE.pop() if _IDLE else _Worker()
            self._worker.work = self._run
        full = self._process is not None and self._process.full_disk and not self._abandoned
        if full:
            limit = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, limit[1]))
        try:
            self._worker.give_turn()
        finally:
            if full:
                resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        if self._pause is not None:
            self._loop.call_later(self._pause, self.go_on)
            return
        if self._process is not None:
            self._process.threads.discard(self)
        if not self._abandoned and not self._future.done():
            self._ended()

    def abandon(self) -> None:
        """End the thread where it waits."""
        self._abandoned = True
        if self._worker is not None:
            self.go_on()

    def wait(self, seconds: float) -> None:
        """Give the turn back for some seconds; called in the thread."""
        if not self._abandoned and self._worker is not None:
            self._pause = seconds
            self._worker.give_back()
            self._pause = None
        if self._abandoned:
            raise _AbandonedError

    def _run(self) -> None:
        _current.thread = self
        try:
            result = self._work()
            self._ended = lambda: self._future.set_result(result)
        except _AbandonedError:
            pass
        except BaseException as error:  # noqa: BLE001 -- raised where it is awaited
            failure = error
            self._ended = lambda: self._future.set_exception(failure)
        self._pause = None


@contextmanager
def elsewhere() -> Iterator[None]:
    """Write on the disk of another machine, however full this one's is."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if before[0] == before[1]:
        yield
        return
    resource.setrlimit(resource.RLIMIT_FSIZE, (before[1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class SimulatedLock:
    """Stands for an RLock: a thread that waits for it gives the turn back."""

    def __init__(self) -> None:
        self._owner: int | None = None
        self._depth = 0

    def __enter__(self) -> None:
        me = threading.get_ident()
        while self._owner not in (None, me):
            wait(_TURN)
        self._owner = me
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._owner = None


def wait(seconds: float) -> None:
    """Wait in a simulated thread; elsewhere no time passes."""
    thread: SimulatedThread | None = getattr(_current, "thread", None)
    if thread is not None:
        thread.wait(seconds)
