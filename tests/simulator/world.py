"""A world: one cluster, its Git remotes, and the replicas of one daemon."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import structlog

from reconciler.config import Setup, load_setup
from reconciler.daemon.app import run_daemon
from reconciler.errors import ReconcilerError
from reconciler.planner import ObjectStatus
from reconciler.types import ObjectRef
from tests.simulator.api_server import ApiServer
from tests.simulator.bucket import Bucket
from tests.simulator.cluster import Cluster
from tests.simulator.invariants import Invariants
from tests.simulator.loop import PROCESS, Process, SimulatedLoop
from tests.simulator.network import Link
from tests.simulator.remotes import Remotes
from tests.simulator.site import MANIFESTS, NAMESPACE, STATUS, Variant
from tests.simulator.status_files import read_status
from tests.simulator.threads import elsewhere

#: Seconds after which a process that has ended is started again.
RESTART = 10.0
#: Lines of the log that a violation shows.
_LINES = 60


class World:
    """Everything that a seed decides.

    ``figures`` count what happened; ``trace`` is a digest of it, in its order.
    """

    namespace = NAMESPACE

    def __init__(
        self,
        seed: int | str,
        folder: Path,
        say: Callable[[str], None] | None = None,
        *,
        variant: Variant | None = None,
    ) -> None:
        self.seed = seed
        self.variant = variant or Variant()
        self.folder = folder
        self._say = say
        self.figures: Counter[str] = Counter()
        self.lines: deque[str] = deque(maxlen=_LINES)
        self._digest = hashlib.sha256()
        self.loop = SimulatedLoop(Random(f"{seed}/threads"))
        self.server = ApiServer(self.loop)
        self.bucket = Bucket(self.server.time)
        self.cluster = Cluster(self.server, self.bucket, Random(f"{seed}/cluster"))
        self.server.changed = self.cluster.changed
        chance = Random(f"{seed}/network")
        self.api_links = {name: Link(self.loop, chance) for name in ("one", "two")}
        self.git_links = {name: Link(self.loop, chance) for name in ("one", "two")}
        self.bucket_links = {name: Link(self.loop, chance) for name in ("one", "two")}
        self.remotes = Remotes(folder, self.loop.time)
        #: How many requests a replica may still send before it crashes.
        self.crash_at: dict[str, int] = {}
        #: The tip of the status branch that was read last, and its statuses.
        self._read: tuple[str | None, Mapping[ObjectRef, ObjectStatus]] = None, {}
        #: When the clock of a replica was last set.
        self.clock_set_at = 0.0
        self.replicas = {name: Replica(self, name) for name in ("one", "two")}
        self.invariants = Invariants(self)
        self.cluster.started = self.invariants.started
        self.cluster.made = self.invariants.made
        self.cluster.found = self.invariants.artifacts.found
        self.cluster.collections.done = self.invariants.artifacts.collected
        self.server.log = self.cluster.collections.log
        self.bucket.link = lambda process: self.bucket_links[process.name]
        self.bucket.asked = self.invariants.called
        self.bucket.deleting = self.invariants.artifacts.deleting
        self.bucket.failed = self.invariants.artifacts.failed
        self.remotes.link = lambda process: self.git_links[process.name]
        self.remotes.pushed = self.invariants.pushed
        self.remotes.asked = self.invariants.asked

    @property
    def trace(self) -> str:
        return self._digest.hexdigest()

    def note(self, text: str) -> None:
        """Note what happens, for the trace."""
        text = text.replace(str(self.folder), "")
        process = PROCESS.get()
        line = f"{self.loop.now:12.3f} {process.name if process else '-':3} {text}"
        self._digest.update(line.encode() + b"\n")
        self.lines.append(line)
        if self._say is not None:
            with elsewhere():
                self._say(line)

    def hear(self, _: object, method: str, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """Note a line of a daemon's log."""
        told = " ".join(f"{name}={value}" for name, value in event.items() if name != "event")
        self.note(f"{method}: {event.get('event')} {told}")
        raise structlog.DropEvent

    def requested(self, process: Process) -> None:
        """Count a request, at which its process may be about to crash."""
        left = self.crash_at.get(process.name)
        if left is not None and process.alive:
            self.crash_at[process.name] = left - 1
            if left <= 1:
                del self.crash_at[process.name]
                self.loop.later(0.0, self.replicas[process.name].crash_if, process)

    @property
    def links(self) -> tuple[Link, ...]:
        """All ways of the replicas."""
        kinds = (self.api_links, self.git_links, self.bucket_links)
        return tuple(link for links in kinds for link in links.values())

    def statuses(self) -> Mapping[ObjectRef, ObjectStatus]:
        """The objects' statuses on the status branch."""
        tip = self.remotes.tip(MANIFESTS, STATUS)
        if tip != self._read[0]:
            files = self.remotes.files(MANIFESTS, tip) if tip is not None else {}
            self._read = tip, read_status(files)
        return self._read[1]

    def close(self) -> None:
        """End all processes, and the loop."""
        for replica in self.replicas.values():
            replica.kill()
        self.loop.close()


class Replica:
    """One machine with a process of the daemon, which is started again whenever it ends."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.process: Process | None = None
        self.wanted = False
        self.skew = 0.0
        self.full_disk = False
        self._world = world
        self._stop: asyncio.Event | None = None
        self._loaded: Setup | None = None

    def start(self) -> None:
        """Start the daemon, unless it runs."""
        self.wanted = True
        if self.process is not None:
            return
        world = self._world
        process = self.process = Process(self.name, world.loop)
        process.skew, process.full_disk = self.skew, self.full_disk
        self._stop = asyncio.Event()
        task = world.loop.start(process, run_daemon(self._setup(), stop=self._stop))
        task.add_done_callback(lambda done: self._ended(process, done), context=world.loop.world)

    def ask_to_stop(self) -> None:
        """Send SIGTERM; another is started after it has ended."""
        if self.process is not None and self._stop is not None:
            self._stop.set()

    def kill(self) -> None:
        """End the process wherever it is; nothing starts it again."""
        self.wanted = False
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            self._cleared()

    def crash(self) -> None:
        """End the process wherever it is; another is started."""
        self.kill()
        self.wanted = True
        self._world.loop.later(RESTART, self._start_again)

    def crash_if(self, process: Process) -> None:
        """Crash, if that process is still the one that runs."""
        if self.process is process:
            self._world.note(f"{self.name} crashes")
            self.crash()

    def _start_again(self) -> None:
        if self.wanted:
            self.start()

    def _ended(self, process: Process, task: asyncio.Task[None]) -> None:
        if self.process is not process:
            return
        self.process = None
        process.kill()
        self._cleared()
        error = task.exception() if not task.cancelled() else None
        self._world.note(f"{self.name} has ended: {error!r}")
        self._world.figures["ends"] += 1
        if error is not None and not isinstance(error, ReconcilerError):
            self._world.invariants.broken(f"the daemon ended with {error!r}", error)
        self._world.loop.later(RESTART, self._start_again)

    def _cleared(self) -> None:
        for stream in list(self._world.api_links[self.name].streams):
            stream.close()

    def _setup(self) -> Setup:
        if self._loaded is not None:
            return self._loaded
        folder = self._world.folder / self.name
        folder.mkdir(exist_ok=True)
        file = folder / "reconciler.yaml"
        root = str(folder / "state")
        configured = {**self._world.variant.configuration(), "local": {"root": root}}
        file.write_text(json.dumps(configured))
        self._loaded = load_setup(file, {})
        return self._loaded

    @property
    def git_folder(self) -> Path:
        return self._world.folder / self.name / "state" / "git"
