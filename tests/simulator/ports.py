"""The ports of the daemon, and what a world puts behind them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime, tzinfo
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest import mock

import msgspec
import pygit2
import structlog

from reconciler.daemon.bucket_listings import BucketListings
from reconciler.daemon.retention import Retention
from reconciler.engines.kubernetes.client import Api
from reconciler.engines.kubernetes.leader_election import Leadership
from reconciler.git.sources import Sources
from reconciler.git.status_branch import StatusBranch
from reconciler.status.encoding import load_yaml
from tests.simulator.bucket import SerialPool
from tests.simulator.loop import PROCESS, SimulatedLoop
from tests.simulator.network import SimulatedClient
from tests.simulator.remotes import SimulatedTransport
from tests.simulator.threads import SimulatedLock, wait
from tests.simulator.world import World

#: Modules that read the wall clock.
CLOCKS = (
    "reconciler.daemon.controller",
    "reconciler.daemon.local_try",
    "reconciler.daemon.plan_executor",
    "reconciler.daemon.plan_reporter",
    "reconciler.daemon.retention",
    "reconciler.daemon.retention_heads",
    "reconciler.daemon.retention_record",
    "reconciler.daemon.scrubber",
    "reconciler.engines.kubernetes.artifact_collection",
    "reconciler.engines.kubernetes.leader_election",
    "reconciler.engines.kubernetes.reported_progress",
    "reconciler.metrics.daemon",
    "reconciler.status.own_branch",
)
TRANSPORTS = (
    "reconciler.git.manifest_mirror",
    "reconciler.git.sources",
    "reconciler.git.status_branch",
)
#: Modules that read status files.
READERS = ("reconciler.status.encoding", "reconciler.status.own_branch")
#: Seconds between two collections.
COLLECTION = 60.0


@contextmanager
def simulated(world: World) -> Iterator[None]:
    """Put a world behind the daemon's ports."""
    loop = world.loop
    wall = _wall_clock(loop)
    with ExitStack() as stack:

        def patch(target: str, new: object) -> None:
            stack.enter_context(mock.patch(target, new))

        for module in CLOCKS:
            patch(f"{module}.datetime", wall)
        for module in TRANSPORTS:
            patch(f"{module}.Transport", lambda *_, **__: SimulatedTransport(world.remotes))
        patch(
            "reconciler.git.pull_request_refs.Transport",
            lambda *_, **__: SimulatedTransport(world.remotes, world.invariants.artifacts.listed),
        )
        for call in ("end", "sizes", "copy", "delete"):
            patch(f"reconciler.stores.{call}", getattr(world.bucket, call))
        patch("reconciler.git.manifest_mirror.threading", SimpleNamespace(RLock=SimulatedLock))
        patch("reconciler.daemon.retention_reader.ThreadPoolExecutor", SerialPool)
        patch("reconciler.daemon.retention_remains.ThreadPoolExecutor", SerialPool)
        for call in ("sizes", "delete"):
            answered = _answering(world, call)
            patch(f"reconciler.image_registry.ImageRegistry.{call}", answered)
        patch("reconciler.daemon.collector._INTERVAL", COLLECTION)
        patch("reconciler.status.encoding.dump_yaml", msgspec.json.encode)
        for module in READERS:
            patch(f"{module}.load_yaml", _load_json)
        patch("time.monotonic", loop.time)
        patch("gc.freeze", lambda: None)
        patch(
            "reconciler.git.bare.gc", SimpleNamespace(collect=lambda: 0)
        )  # no pack is ever damaged
        patch("reconciler.backoff.random", Random(f"{world.seed}/pauses"))
        patch("reconciler.daemon.leader.secrets", _Tokens(Random(f"{world.seed}/tokens")))
        patch("pygit2.Signature", _signature(loop))
        defaults: list[tuple[Any, str, object]] = [
            (BucketListings, "clock", loop.time),
            (Leadership, "clock", loop.time),
            (Sources, "clock", loop.time),
            (StatusBranch, "pause", wait),
        ]
        for made, port, value in defaults:
            stack.enter_context(mock.patch.dict(made.__init__.__kwdefaults__, {port: value}))
        stack.enter_context(mock.patch.object(Api, "connect", _connect(world)))
        stack.enter_context(mock.patch.object(Retention, "collect", _collect(world)))
        stack.enter_context(mock.patch.object(StatusBranch, "push", _push(world)))
        names = {"POD_NAME": "replica", "POD_NAMESPACE": world.namespace}
        stack.enter_context(mock.patch.dict(os.environ, names))
        before = structlog.get_config()
        structlog.configure(processors=[world.hear])
        stack.callback(structlog.configure, **before)
        yield


def _load_json(path: str, data: bytes) -> dict[str, Any]:
    """Read a status file; what is no JSON is read as the daemon does."""
    try:
        found = msgspec.json.decode(data)
    except msgspec.DecodeError:
        found = None
    return found if isinstance(found, dict) else load_yaml(path, data)


def _answering(world: World, call: str) -> Any:
    """Answer in a registry's place."""

    def answered(_: object, *asked: Any) -> Any:
        world.figures[f"registry {call}"] += 1
        return getattr(world.cluster.images, call)(*asked)

    return answered


def _wall_clock(loop: SimulatedLoop) -> type[datetime]:
    class Wall(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return loop.wall().astimezone(tz)

    return Wall


def _signature(loop: SimulatedLoop) -> Any:
    real = pygit2.Signature

    def signature(name: str, email: str, at: int | None = None, offset: int = 0) -> Any:
        return real(name, email, int(loop.wall().timestamp()) if at is None else at, offset)

    return signature


class _Tokens:
    def __init__(self, chance: Random) -> None:
        self._chance = chance

    def token_hex(self, size: int) -> str:
        return self._chance.randbytes(size).hex()


def _collect(world: World) -> Any:
    """Tell the invariants of the begin of each collection."""
    real = Retention.collect

    async def collect(self: Retention) -> Any:
        process = PROCESS.get()
        assert process is not None
        world.figures["collections"] += 1
        world.invariants.artifacts.began(process)
        return await real(self)

    return collect


def _push(world: World) -> Any:
    """Keep the simulation's folder, another each time, out of what is recorded."""
    real, folder = StatusBranch.push, str(world.folder).encode()

    def push(
        self: StatusBranch, changes: Mapping[str, bytes | None], message: str, **named: Any
    ) -> Any:
        changes = {p: d.replace(folder, b"") if d else d for p, d in changes.items()}
        return real(self, changes, message, **named)

    return push


def _connect(world: World) -> Any:
    async def connect(*, asked: Any = lambda *_: None, **_: Any) -> Api:
        process = PROCESS.get()
        assert process is not None
        client = SimulatedClient(
            world.server, world.api_links[process.name], process, world.invariants.seen
        )
        return Api(client, asked=asked)

    return connect
