"""A bounded number of threads that end when nothing is left to do, and never hold up an exit."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Workers(Generic[T]):
    """Runs jobs in at most ``most`` threads at once.

    An executor's threads are joined at exit, and one may be waiting for a remote just then.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._running = 0
        self._jobs: deque[tuple[Future[T], Callable[[], T]]] = deque()
        self._lock = threading.Lock()

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Have a job done as soon as a thread is free."""
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
            except BaseException as error:  # noqa: BLE001 -- whoever asks for the result gets it
                future.set_exception(error)
