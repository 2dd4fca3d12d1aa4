"""One program of a cluster: started with its output in a file, stopped for certain.

A child gets ``PR_SET_PDEATHSIG``: when the process that runs the cluster dies, by whatever signal,
the kernel kills its children, so nothing is left behind. The signal belongs to the *thread* that
forked, so programs are started from the main thread alone.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.cluster.errors import ClusterFailed

_PR_SET_PDEATHSIG = 1
#: How long a program may take to end by itself before it is killed (seconds).
_GRACE = 10.0
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _die_with(parent: int) -> Callable[[], None]:
    def prepare() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it died before the kernel was told
                os._exit(1)

    return prepare


class Program:
    """``command``, which can be started, stopped and started again."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        stop: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.log = log
        self._command = [str(part) for part in command]
        self._environment = None if environment is None else {**os.environ, **environment}
        self._stop = stop
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        return self._process.pid if self.running and self._process is not None else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self, given: bytes | None = None) -> None:
        """Start it; its standard input is ``given`` or nothing."""
        assert threading.current_thread() is threading.main_thread()
        assert not self.running, f"{self.name} runs"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL if given is None else asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()),
            )
        if given is not None:
            await self.tell(given)

    async def tell(self, text: bytes) -> None:
        """Write to its standard input."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(text)
        await self._process.stdin.drain()

    async def stop(self) -> None:
        """End it and see it gone; one that is frozen or does not listen is killed."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(self._stop)
        process.send_signal(signal.SIGCONT)
        try:
            await asyncio.wait_for(process.wait(), _GRACE)
        except TimeoutError:
            process.kill()
            await process.wait()

    def tail(self, lines: int = 20) -> str:
        """The end of its output."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


async def until(
    done: Callable[[], bool], what: str, *programs: Program, seconds: float = 60.0
) -> None:
    """Poll until ``done``.

    Raises `ClusterFailed` with the end of the log of the first of ``programs`` that has ended, or,
    after ``seconds``, of all of them.
    """
    deadline = time.monotonic() + seconds
    while not done():
        ended = [program for program in programs if not program.running]
        if ended or time.monotonic() > deadline:
            why = f"{ended[0].name} ended" if ended else f"not after {seconds:.0f} s"
            logs = [f"--- {p.name}: {p.log}\n{p.tail()}" for p in ended or programs]
            raise ClusterFailed("\n".join([f"{what}: {why}", *logs]))
        await asyncio.sleep(0.03)
