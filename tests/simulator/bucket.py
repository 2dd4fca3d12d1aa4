"""The bucket of the artifacts, in memory, and the calls of a process to it.

It stands for the server behind :mod:`reconciler.stores`. A call that is sent has its effect, though
its answer may be lost; a process may be stopped or killed between any two.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from reconciler import stores
from reconciler.engines.local.artifact_places import HIDDEN_MARKER
from reconciler.engines.local.marker import MARKER
from tests.simulator.loop import PROCESS, Process
from tests.simulator.network import Link
from tests.simulator.threads import wait

T = TypeVar("T")
U = TypeVar("U")
WEIGHTS = "weights"
_BYTES = b"weights of an artifact"

#: Called with the process, a file that it is about to delete, and what is beside it.
Deleting = Callable[[Process | None, str, str], None]


def _no_link(process: Process) -> Link:
    raise AssertionError(f"{process.name} has no way to the bucket")


@dataclass
class Bucket:
    """Files by their folder and name; ``time`` is the text of a marker's times.

    ``deleting`` is called before a file is deleted, ``asked`` with each call of a process,
    ``failed`` with each that has no answer.
    """

    time: Callable[[], str]
    link: Callable[[Process], Link] = _no_link
    folders: dict[str, dict[str, bytes]] = field(default_factory=dict)
    #: Parts of a mounted bucket in which artifacts were collected.
    parts: set[str] = field(default_factory=set)
    deleting: Deleting = lambda *_: None
    asked: Callable[[Process, str], None] = lambda *_: None
    failed: Callable[[Process], None] = lambda _: None

    def is_complete(self, url: str) -> bool:
        return MARKER in self.folders.get(url.rstrip("/"), ())

    def is_hidden(self, url: str) -> bool:
        """Return whether an undo must be able to bring an artifact back."""
        names = self.folders.get(url.rstrip("/"), {})
        return MARKER not in names and HIDDEN_MARKER in names

    def complete(self) -> list[str]:
        """The URLs of complete artifacts."""
        return sorted(f"{url}/" for url, names in self.folders.items() if MARKER in names)

    def hidden(self) -> list[str]:
        return sorted(f"{url}/" for url in self.folders if self.is_hidden(url))

    def metrics(self, url: str) -> dict[str, float]:
        """The metrics of a complete artifact."""
        found: dict[str, float] = self.lineage(url).get("metrics", {})
        return found

    def lineage(self, url: str, marker: str = MARKER) -> dict[str, Any]:
        """An artifact's marker, of a complete one if no other is named."""
        found: dict[str, Any] = json.loads(self.folders[url.rstrip("/")][marker])
        return found

    def move(self, url: str, marker: str, to: str) -> bool:
        """Rename a marker, as in a mount; returns False if it is not there."""
        names = self.folders.get(url.rstrip("/"), {})
        if marker not in names:
            return False
        names[to] = names.pop(marker)
        return True

    def make(self, url: str, key: str, lineage: dict[str, Any], metrics: dict[str, float]) -> None:
        """Write an artifact and its marker, as a run does at its end."""
        at = self.time()
        folder = self.folders.setdefault(url.rstrip("/"), {})
        folder[WEIGHTS] = _BYTES
        marker = {
            **lineage,
            "version": 1,
            "key": key,
            "metrics": metrics,
            "started": at,
            "finished": at,
            "durationSeconds": 1.0,
            "gpuSeconds": 0.0,
            "attempt": 1,
            "files": [{"path": WEIGHTS, "size": len(_BYTES)}],
        }
        folder[MARKER] = json.dumps(marker).encode()

    def lose(self, url: str) -> None:
        """Delete an artifact behind everybody's back."""
        self.folders.pop(url.rstrip("/"), None)

    # -- what the module ``stores`` does -------------------------------------------------------

    def end(self, url: str, longest: int) -> bytes:
        folder, _, name = url.rpartition("/")
        found = self._call("read", lambda: self.folders.get(folder, {}).get(name))
        if found is None:
            raise stores.Missing(f"there is no {url}")
        return found[-longest:]

    def sizes(self, folder: str) -> dict[str, int]:
        found = self.folders.get(folder, {})
        return self._call("list", lambda: {name: len(data) for name, data in found.items()})

    def copy(self, url: str, to: str) -> None:
        folder, _, name = url.rpartition("/")

        def copy() -> bool:
            names = self.folders.get(folder, {})
            if name in names:
                names[to.rpartition("/")[2]] = names[name]
            return name in names

        if not self._call("copy", copy):
            raise stores.Missing(f"there is no {url}")

    def delete(self, folder: str, paths: Sequence[str]) -> None:
        for path in paths:
            self._call("delete", lambda path=path: self._delete(folder, path))  # type: ignore[misc]

    def _delete(self, folder: str, name: str) -> None:
        names = self.folders.get(folder, {})
        if name in names:
            self.deleting(PROCESS.get(), folder, name)
            del names[name]
        if not names:
            self.folders.pop(folder, None)

    def _call(self, what: str, effect: Callable[[], T]) -> T:
        """Send a request, which has its effect, and wait for the answer."""
        process = PROCESS.get()
        if process is None:
            return effect()
        self.asked(process, what)
        link = self.link(process)
        if link.cut or link.chance.random() < link.failing:
            self._fail(process, link)
        done = effect()
        wait(2 * link.delay())
        if link.cut or link.chance.random() < link.losing:
            self._fail(process, link)
        return done

    def _fail(self, process: Process, link: Link) -> None:
        self.failed(process)
        wait(link.chance.choice((0.1, 20.0)))
        raise stores.StoreError("the bucket cannot be reached")


class SerialPool:
    """Stands for a ThreadPoolExecutor in a thread that has the turn."""

    def __init__(self, _: int) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, work: Callable[[T], U], each: Iterable[T]) -> list[U]:
        return [work(one) for one in each]
