"""Limits on look-ups of sources: threads in all, and calls per host."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from reconciler.backoff import Backoff
from reconciler.errors import GitError
from reconciler.git.command import LateError
from reconciler.urls import host_of, redact

T = TypeVar("T")
#: The pause in which a host that did not answer is not called again.
HOST_RETRY = Backoff(first=5.0, longest=5.0)


@dataclass(slots=True)
class _Host:
    slots: threading.BoundedSemaphore
    paused_until: float = 0.0
    error: str = ""


class Hosts:
    """Limits on calls to hosts: ``per_host`` of them at once.

    Safe to use from several threads.
    """

    def __init__(self, per_host: int, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._hosts: dict[str, _Host] = defaultdict(
            lambda: _Host(threading.BoundedSemaphore(per_host))
        )

    def slot(self, url: str) -> threading.BoundedSemaphore:
        """Return the semaphore to hold during a call to a URL's host."""
        return self._host(url).slots

    def call(self, url: str, function: Callable[[str], T]) -> T:
        """Call a URL's host, unless it just missed a deadline.

        Otherwise each URL of the host would take a deadline's time, and every sync wait for the
        sum. Raises GitError.
        """
        host = self._host(url)
        with host.slots:
            if self._clock() < host.paused_until:
                raise GitError(f"{redact(url)} was not asked again yet: {host.error}")
            try:
                return function(url)
            except LateError as error:
                host.error = str(error)
                host.paused_until = self._clock() + HOST_RETRY.delay(1)
                raise

    def _host(self, url: str) -> _Host:
        with self._lock:
            return self._hosts[host_of(url)]


class Workers(Generic[T]):
    """Daemon threads, at most ``most``, which end when idle.

    An executor's threads are joined at exit, and one may be waiting for a remote just then.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._running = 0
        self._jobs: deque[tuple[Future[T], Callable[[], T]]] = deque()
        self._lock = threading.Lock()

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Run a job as soon as a thread is free."""
        future: Future[T] = Future()
        with self._lock:
            self._jobs.append((future, job))
            if self._running < self._most:
                self._running += 1
                threading.Thread(target=self._work, name="source", daemon=True).start()
        return future

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._running -= 1
                    return
                future, job = self._jobs.popleft()
            try:
                future.set_result(job())
            except BaseException as error:  # noqa: BLE001 -- raised where the result is read
                future.set_exception(error)
