"""The process that runs one cluster for whoever holds a connection to it, and ends with the last.

The tests' own process could be killed at any moment, and with pytest-xdist there are several that
share a cluster. So a cluster is the child of this process instead, which counts connections to a
socket in the run's folder: the kernel closes them however a test process ends. When none is left,
everything is stopped, removed and this process exits. Should this one be killed itself, its
children die with it (see ``process``); what is then left (empty cgroups) the next start sweeps.

Protocol: one JSON object a line. On connection the keeper sends what the cluster is, or why there
is none, as soon as that is known; each ``{"do": …}`` after that is answered by one line.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from tests.cluster.api import ApiError
from tests.cluster.build import programs
from tests.cluster.control_plane import ControlPlane
from tests.cluster.errors import ClusterFailed, ClusterUnavailable
from tests.cluster.node import Node
from tests.cluster.node_site import NodeSite
from tests.cluster.process import Program
from tests.cluster.queue_site import QueueSite

SOCKET = "keeper.sock"
#: How long to wait for the first connection (seconds).
_LONELY = 30.0


class Site(Protocol):
    """A cluster of either level."""

    @property
    def programs(self) -> tuple[Program, ...]: ...

    async def start(self) -> None: ...

    async def stop(self) -> None:
        """End everything and remove what is not a log; also what only half started."""

    def describe(self) -> Mapping[str, Any]:
        """What `lease` makes a handle of."""


class Keeper:
    def __init__(self, folder: Path, site: Site) -> None:
        self._folder = folder
        self._site = site
        self._users = 0
        self._finish = asyncio.Event()
        self._gone = asyncio.Event()
        self._known: asyncio.Task[Mapping[str, Any]] | None = None

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for ending in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(ending, self._finish.set)
        loop.call_later(_LONELY, self._finish_if_unused)
        server = await asyncio.start_unix_server(self._serve, self._folder / SOCKET)
        self._known = asyncio.create_task(self._start())
        await self._finish.wait()
        server.close()
        (self._folder / SOCKET).unlink(missing_ok=True)
        self._known.cancel()
        await asyncio.wait([self._known])
        await self._site.stop()
        self._gone.set()
        # Those who wait for the end now see it.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=5)

    async def _start(self) -> Mapping[str, Any]:
        try:
            await self._site.start()
        except (ApiError, ClusterFailed, ClusterUnavailable, OSError) as error:
            return {"failed": str(error), "unavailable": isinstance(error, ClusterUnavailable)}
        return {"cluster": self._site.describe()}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._known is not None
        self._users += 1
        telling = asyncio.create_task(self._tell(self._known, writer))
        try:
            while line := await reader.readline():
                answer = await self._obey(json.loads(line))
                writer.write(json.dumps(answer).encode() + b"\n")
        except ConnectionError:
            pass  # a user that was killed
        finally:
            telling.cancel()
            self._users -= 1
            self._finish_if_unused()
            if self._finish.is_set():
                await self._gone.wait()
                writer.write(b'{"ended": true}\n')
            writer.close()

    @staticmethod
    async def _tell(known: asyncio.Task[Mapping[str, Any]], writer: asyncio.StreamWriter) -> None:
        what = await asyncio.shield(known)
        writer.write(json.dumps(what).encode() + b"\n")

    def _finish_if_unused(self) -> None:
        if self._users == 0:
            self._finish.set()

    async def _obey(self, order: Mapping[str, str]) -> Mapping[str, Any]:
        named = {program.name: program for program in self._site.programs}
        try:
            match order:
                case {"do": "pids"}:
                    return {"pids": {name: p.pid for name, p in named.items() if p.running}}
                case {"do": "stop", "program": name}:
                    await named[name].stop()
                case {"do": "start", "program": name}:
                    await named[name].start()
                case {"do": "cut", "program": name}:
                    _node(named[name]).cut()
                case {"do": "mend", "program": name}:
                    _node(named[name]).mend()
                case _:
                    return {"failed": f"not understood: {order}"}
        except (ApiError, ClusterFailed, KeyError, OSError) as error:
            return {"failed": repr(error)}
        return {}


def _node(program: Program) -> Node:
    if not isinstance(program, Node):
        raise ClusterFailed(f"{program.name} is no node")
    return program


def _site(folder: Path, *, level: str, audit: bool, gangs: bool, late: bool) -> Site:
    match level:
        case "control-plane":
            return ControlPlane(folder, programs("control-plane"), audit=audit)
        case "node":
            return NodeSite(folder, programs("node"), audit=audit, gangs=gangs)
        case "gcs-node" | "mountpoint-node" | "policy-node":
            return NodeSite(folder, programs(level), audit=audit)
        case "queue":
            found = programs("queue")
            return QueueSite(folder, found, ControlPlane(folder, found, audit=audit), late=late)
        case _:
            found = programs("queue-node")
            return QueueSite(folder, found, NodeSite(folder, found, audit=audit))


async def _main(folder: Path, options: Mapping[str, Any]) -> None:
    await Keeper(folder, _site(folder, **options)).run()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), json.loads(sys.argv[2])))
