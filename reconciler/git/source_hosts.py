"""How hosts are asked: each by so many at once, and one that does not answer not by all in turn."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from reconciler.git.command import LateError
from reconciler.git.errors import GitError, redact
from reconciler.git.url import host_of

T = TypeVar("T")
#: For how many seconds a host that did not answer is left alone.
ALONE = 5.0


@dataclass(slots=True)
class _Host:
    places: threading.BoundedSemaphore
    alone_until: float = 0.0
    error: str = ""


class Hosts:
    """``per_host`` may ask a host at once. Safe to use from several threads."""

    def __init__(self, per_host: int, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._hosts: dict[str, _Host] = defaultdict(
            lambda: _Host(threading.BoundedSemaphore(per_host))
        )

    def place(self, url: str) -> threading.BoundedSemaphore:
        """To be held while a URL's host is talked to."""
        return self._host(url).places

    def ask(self, url: str, call: Callable[[str], T]) -> T:
        """Ask a host of a URL, unless it did not answer for another one a moment ago.

        Otherwise each of them would take a deadline's time, and every sync wait for the sum.
        Raises GitError.
        """
        host = self._host(url)
        with host.places:
            if self._clock() < host.alone_until:
                raise GitError(f"{redact(url)} was not asked again yet: {host.error}")
            try:
                return call(url)
            except LateError as error:
                host.error = str(error)
                host.alone_until = self._clock() + ALONE
                raise

    def _host(self, url: str) -> _Host:
        with self._lock:
            return self._hosts[host_of(url)]
