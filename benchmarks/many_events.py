"""1,000 Jobs that change at once, until their statuses are pushed, on a real API server.

A queue admits all Jobs of 1,000 Models, or takes its admission back: each object has another
message then, and its file is pushed. The Job controller is stopped, so that a Job changes once.
What counts is the daemon's CPU until it has nothing to do any more. The baseline decodes the very
events that the API server sent, from their bytes, and does nothing else.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from benchmarks.figures import Figure
from benchmarks.installation import count_jobs, settle
from benchmarks.process import own_cpu_seconds
from reconciler.engines.kubernetes.client import CONNECTIONS
from tests.cluster import lease
from tests.cluster.cluster import Cluster
from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import ClusterSite
from tests.e2e.site import stop, until

MODELS = 1_000
ROUNDS = 5
#: The decoder is done in milliseconds: so many times over, and divided.
DECODINGS = 10
PATCH = {"Content-Type": "application/merge-patch+json"}


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of CPU of the daemon, and of decoding the events."""

    cpu: float
    raw: float


def measure(models: int = MODELS, rounds: int = ROUNDS) -> Iterator[Figure]:
    """Yield the figure."""
    with tempfile.TemporaryDirectory() as name, lease.control_plane(Path(name, "c")) as cluster:
        folder = Path(name, "site")
        folder.mkdir()
        site = ClusterSite(folder, Namespace(cluster, "default"))
        site.configure(kubernetes={"lease": "60s"}, status={"interval": "2s"})
        for number in range(models):
            site.model(f"m{number}", more="    queue: q\n")
        site.push()
        daemon = site.daemon()
        try:
            until(lambda: count_jobs(cluster, "default") == models, what="every Job")
            settle(daemon.pid)
            cluster.stop("controllers")
            found = [_round(site, daemon.pid, number % 2 == 1) for number in range(rounds)]
        finally:
            stop(daemon)
    yield Figure(
        name="events",
        title=f"{models:,} Jobs change at once, to the status",
        baseline="decoding the same events",
        unit="s",
        rounds=[(each.cpu, each.raw) for each in found],
        aim=3.0,
    )


def _round(site: ClusterSite, pid: int, suspend: bool) -> Round:
    before, messages, tip = own_cpu_seconds(pid), _messages(site), site.head_of_status()
    events = asyncio.run(_change(site.namespace.cluster, site.namespace.jobs, suspend=suspend))

    def pushed() -> bool:
        nonlocal tip
        if tip == site.head_of_status():
            return False
        tip = site.head_of_status()
        return all(messages[name] != message for name, message in _messages(site).items())

    until(pushed, what="every status")
    settle(pid)
    return Round(own_cpu_seconds(pid) - before, _decode(events))


def _messages(site: ClusterSite) -> dict[str, str]:
    return {name: str(status.get("message")) for name, status in site.statuses().items()}


async def _change(cluster: Cluster, path: str, *, suspend: bool) -> list[bytes]:
    """Suspend all Jobs or none; return the events of that."""
    listed = cluster.api.get(path)
    names = [job["metadata"]["name"] for job in listed["items"]]
    version = listed["metadata"]["resourceVersion"]
    connector = aiohttp.TCPConnector(limit=CONNECTIONS + 1, ssl=cluster.api.context)
    body = json.dumps({"spec": {"suspend": suspend}}).encode()
    async with aiohttp.ClientSession(cluster.server, connector=connector) as session:
        watch = asyncio.create_task(
            _events(session, f"{path}?watch=1&resourceVersion={version}", len(names))
        )

        async def patch(name: str) -> None:
            async with session.patch(f"{path}/{name}", data=body, headers=PATCH) as answer:
                if answer.status != 200:
                    raise SystemExit(await answer.text())
                await answer.read()

        await asyncio.gather(*map(patch, names))
        return await watch


async def _events(session: aiohttp.ClientSession, url: str, count: int) -> list[bytes]:
    lines = list[bytes]()
    async with session.get(url, read_bufsize=1 << 20) as answer:
        async for line in answer.content:
            lines.append(line)
            if len(lines) == count:
                break
    return lines


def _decode(events: list[bytes]) -> float:
    """Return the CPU of decoding events."""
    before = time.process_time()
    for _ in range(DECODINGS):
        for line in events:
            json.loads(line)
    return (time.process_time() - before) / DECODINGS
