"""An event loop whose time is simulated, with processes that can be stopped or killed in it.

Nothing waits: where nothing is left to do now, the time is set to that of the next timer. A thread
runs only while the loop waits for it, until it comes to a call of a remote or ends; so there is one
order of everything.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from tests.simulator.threads import SimulatedThread

#: The wall clock at time 0.
EPOCH = datetime(2026, 1, 15, tzinfo=UTC)
#: The process that the running code belongs to; None: the world around them.
PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


@dataclass(eq=False, slots=True)
class _Call:
    """A callback of a process; ``handle`` may be cancelled while it waits."""

    process: Process
    callback: Callable[..., object]
    args: tuple[Any, ...]
    context: Context
    handle: asyncio.Handle | None = None

    def __call__(self) -> None:
        if self.process.stopped:
            self.process.waiting.append(self)
        elif self.process.alive and not (self.handle is not None and self.handle.cancelled()):
            self.callback(*self.args)


#: How often what ends a coroutine may wait itself.
_MOST_WAITS = 20


class Process:
    """One process of the daemon, from its start to its end.

    While ``stopped`` nothing of it runs. Once killed nothing of it runs ever again, no ``finally``
    either. ``skew`` are the seconds that its wall clock is off.
    """

    def __init__(self, name: str, loop: SimulatedLoop) -> None:
        self.name = name
        self.loop = loop
        self.alive = True
        self.stopped = False
        self.skew = 0.0
        self.full_disk = False
        self.threads: set[SimulatedThread] = set()
        self.tasks: dict[SimulatedTask, None] = {}
        self.waiting: list[_Call] = []

    def go_on(self) -> None:
        """Let a stopped process go on."""
        self.stopped = False
        waiting, self.waiting = self.waiting, []
        for call in waiting:
            self.loop.run_soon(call)

    def kill(self) -> None:
        """End the process, as SIGKILL does.

        Its coroutines are closed now, so that nobody does so at a time of his own. Their
        ``finally`` blocks reach nothing: see :func:`check_alive`.
        """
        self.alive = self.stopped = False
        self.waiting.clear()
        for thread in sorted(self.threads, key=hash):
            thread.abandon()
        context = contextvars.copy_context()
        context.run(PROCESS.set, self)
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self.loop)
        # A coroutine inside of one that is closed may still wait, and goes then.
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            while self.tasks:
                task, _ = self.tasks.popitem()
                task.forget()
                asyncio._enter_task(self.loop, task)
                with suppress(BaseException):
                    context.run(task.close)
                asyncio._leave_task(self.loop, task)
        finally:
            sys.unraisablehook = hook
            asyncio._set_running_loop(before)


class SimulatedTask(asyncio.Task[Any]):
    """A task whose place in a set does not depend on its address."""

    _numbers = itertools.count()

    def __init__(self, work: Any, **options: Any) -> None:
        self._number = next(self._numbers)
        self._work = work
        super().__init__(work, **options)
        context = options.get("context")
        process = context.get(PROCESS) if context is not None else PROCESS.get()
        if process is not None:
            process.tasks[self] = None
            self.add_done_callback(lambda _: process.tasks.pop(self, None))

    def forget(self) -> None:
        """Say nothing of it when it goes without an end."""
        self._log_destroy_pending = False

    def close(self) -> None:
        """Close its coroutine where it waits, and wherever it waits then."""
        for _ in range(_MOST_WAITS):
            with suppress(RuntimeError):  # a block at its end waits itself
                self._work.close()
                return

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class _Selector:
    """Stands for one that waits for input: it sets the time."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[object]:
        if timeout is None:
            raise RuntimeError("the simulation has nothing left to do")
        self._loop.now += timeout
        return []


class SimulatedLoop(asyncio.BaseEventLoop):
    """The loop; ``chance`` draws for how long threads wait for their turn."""

    def __init__(self, chance: Random) -> None:
        super().__init__()
        self.now = 0.0
        self.chance = chance
        self.world = contextvars.copy_context()
        self.errors: list[str] = []
        self._selector = _Selector(self)
        self._clock_resolution = 1e-6
        self.set_task_factory(_make_task)
        self.set_exception_handler(self._note_error)

    def time(self) -> float:
        return self.now

    def wall(self) -> datetime:
        """The wall clock of the running process."""
        process = PROCESS.get()
        skew = process.skew if process is not None else 0.0
        return EPOCH + timedelta(seconds=self.now + skew)

    def later(self, delay: float, callback: Callable[..., object], *args: Any) -> None:
        """Call back from the world, whatever becomes of the process that runs now."""
        self.call_at(self.now + delay, callback, *args, context=self.world)

    def advance(self, seconds: float) -> None:
        """Let everything run for some seconds."""
        self.run_until_complete(asyncio.sleep(seconds))

    def start(self, process: Process, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a process."""
        context = self.world.copy()
        context.run(PROCESS.set, process)
        return self.create_task(work, context=context)

    # -- what asyncio calls ------------------------------------------------------------------

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        context = context if context is not None else contextvars.copy_context()
        process = context.get(PROCESS)
        if process is None:
            return super().call_soon(callback, *args, context=context)
        call = _Call(process, callback, args, context)
        call.handle = super().call_soon(call, context=context)
        return call.handle

    def run_soon(self, call: _Call) -> None:
        """Run a call that has waited for its process."""
        super().call_soon(call, context=call.context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        context = context if context is not None else contextvars.copy_context()
        process = context.get(PROCESS)
        if process is None:
            return super().call_at(when, callback, *args, context=context)
        call = _Call(process, callback, args, context)
        handle = super().call_at(when, call, context=context)
        call.handle = handle
        return handle

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        del executor
        check_alive()
        future = self.create_future()
        thread = SimulatedThread(self, PROCESS.get(), future, lambda: func(*args))
        self.call_later(self.chance.uniform(0.0, 0.01), thread.go_on)
        return future

    async def shutdown_default_executor(self) -> None:
        """There is none."""

    def _process_events(self, events: list[object]) -> None:
        del events

    def _write_to_self(self) -> None:
        pass

    def _asyncgen_finalizer_hook(self, generator: object) -> None:
        """Close no generator later, in a task of whoever has dropped the last reference to it."""

    def _note_error(self, _: asyncio.AbstractEventLoop, told: dict[str, Any]) -> None:
        error = told.get("exception")
        if error is not None and not isinstance(error, asyncio.CancelledError):
            self.errors.append(f"{told.get('message')}: {error!r}")


def _make_task(
    loop: asyncio.AbstractEventLoop, work: Any, context: Context | None = None
) -> SimulatedTask:
    return SimulatedTask(work, loop=loop, context=context)


class KilledError(BaseException):
    """Raised where something of a killed process would reach out of it."""


def check_alive() -> None:
    """Raise KilledError in what is left of a killed process."""
    process = PROCESS.get()
    if process is not None and not process.alive:
        raise KilledError
