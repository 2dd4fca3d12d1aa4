"""A network of a cluster's own, of which nothing outlives its processes.

The node lives in a network namespace: its bridge, its iptables rules and its sysctls are nobody
else's and go with it. This machine appears on that network under one address (198.18.N.1), on
which the API server, the registry, the S3 server and whatever a test serves listen; tests, node
and pods see the same address. Pods get 198.19.N.0/24, to which this machine has a route, so the
API server reaches them too, without a NAT anywhere. Both ranges are set aside for test networks
(RFC 2544), so no real one is hidden.

Every interface here is one end of a pair whose other end is in a namespace that a process holds:
the kernel removes both when the process dies, however that comes.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.build import cache
from tests.cluster.errors import ClusterFailed
from tests.cluster.machine import tool
from tests.cluster.process import Program, until
from tests.processes import run

_SLOTS = 200


class Network:
    """One of the slots of this machine, for the life of this process."""

    def __init__(self, folder: Path) -> None:
        self.slot, self._lock = _take_slot()
        self.address = f"198.18.{self.slot}.1"
        #: Also the name of the cgroup in which the pods are.
        self.name = _name(self.slot)
        self._anchor = Program(
            "network",
            [tool("unshare"), "--net", tool("sleep"), "infinity"],
            log=folder / "logs" / "network.log",
        )

    @property
    def programs(self) -> tuple[Program, ...]:
        return (self._anchor,)

    def node_address(self, number: int) -> str:
        return f"198.18.{self.slot}.{1 + number}"

    def pods(self, number: int) -> str:
        """The subnet of the pods of this node (1, 2 or 3)."""
        return f"198.19.{self.slot}.{64 * number}/26"

    async def start(self) -> None:
        """Give this machine its address, whether or not there is a node."""
        await self._anchor.start()
        await until(lambda: _apart(self._anchor), "the network is there", self._anchor)
        self._pair(self._anchor, self.name, "anchor")
        _nsenter(self._anchor, "ip", "link", "set", "anchor", "up")

    async def attach(self, number: int, node: Program) -> None:
        """Connect a node's process, that has a network namespace of its own, as its ``eth0``."""
        await until(lambda: _apart(node), "the node is there", node)
        self._pair(node, self._link(number), "eth0")
        self.connect(number)

    def connect(self, number: int) -> None:
        """Plug the cable in: at the start, and after `disconnect`."""
        link = self._link(number)
        own = ("dev", link, "src", self.address)
        _ip("link", "set", link, "up")
        _ip("route", "replace", f"{self.node_address(number)}/32", *own)
        via = ("via", self.node_address(number), "onlink")
        _ip("route", "replace", self.pods(number), *via, *own)

    def disconnect(self, number: int) -> None:
        """Pull the cable: the node runs on, alone."""
        _ip("link", "set", self._link(number), "down")

    async def stop(self) -> None:
        await self._anchor.stop()
        os.close(self._lock)

    def _link(self, number: int) -> str:
        return f"{self.name}n{number}"

    def _pair(self, other: Program, name: str, peer: str) -> None:
        netns = ("netns", str(other.pid))
        _ip("link", "add", name, "type", "veth", "peer", "name", peer, *netns)
        # On each link, so that a machine that answers ARP strictly answers here as well.
        _ip("address", "add", f"{self.address}/32", "dev", name)
        _ip("link", "set", name, "up")


def abandoned() -> Iterator[str]:
    """The names of clusters that ended somehow; each is nobody's until the next is asked for."""
    for slot in range(1, _SLOTS):
        if (_slots() / str(slot)).exists() and (lock := _lock(slot)) is not None:
            yield _name(slot)
            os.close(lock)


def _name(slot: int) -> str:
    return f"mrtest{slot}"


def _take_slot() -> tuple[int, int]:
    for slot in range(1, _SLOTS):
        if (lock := _lock(slot)) is not None:
            return slot, lock
    raise ClusterFailed(f"{_SLOTS} clusters run on this machine already")


def _slots() -> Path:
    return cache() / "slots"


def _lock(slot: int) -> int | None:
    """A lock that the kernel gives back when this process ends; None where another has it."""
    _slots().mkdir(parents=True, exist_ok=True)
    lock = os.open(_slots() / str(slot), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _apart(program: Program) -> bool:
    """Whether it has come into a network namespace of its own."""
    return program.pid is not None and _namespace(program.pid) != _namespace(os.getpid())


def _namespace(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())


def _ip(*arguments: str) -> None:
    _run(tool("ip"), *arguments)


def _nsenter(program: Program, *command: str) -> None:
    _run(tool("nsenter"), f"--net=/proc/{program.pid}/ns/net", *command)


def _run(*command: str) -> None:
    done = run(command)
    if done.returncode != 0:
        raise ClusterFailed(f"{' '.join(command)}: {done.stderr.strip()}")
