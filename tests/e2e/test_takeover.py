"""Two replicas, and the leader killed or frozen in the middle of a sync, twenty times.

Whether the other took over in time is told by the Lease itself, not by a clock of the test: from
the last renewal of the one to the moment that the other wrote as that of its acquisition.
"""

from __future__ import annotations

import random
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import audit
from tests.cluster.api import eventually
from tests.cluster.cluster import Cluster
from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import ClusterSite
from tests.e2e.site import BRANCH, git, stop, until
from tests.engines.kubernetes.orders import terminated

ROUNDS = 20
SEED = 20261124
LEASE = 8
#: New Models of a round, and with it new Jobs.
MODELS = 3


class Replicas:
    """Two daemons by their names; a name that was killed is started anew."""

    def __init__(self, site: ClusterSite) -> None:
        self.site = site
        self.processes: dict[str, subprocess.Popen[str]] = {}
        #: Where in each log the part begins that it wrote since it was struck last.
        self.begun = {"one": 0, "two": 0}

    def start(self, name: str) -> None:
        self.processes[name] = self.site.daemon(name)

    def settle(self) -> None:
        """Wait until one leads, and the other has stood by since before the last renewal."""

        def settled() -> bool:
            new = [self.site.log_of(name)[begun:] for name, begun in self.begun.items()]
            return sorted(map(says, new)) == ["leading", "standing by"]

        until(settled, what="one to lead and one to stand by")
        before = self.lease()["renewTime"]
        until(lambda: self.lease()["renewTime"] != before, what="a renewal")

    def lease(self) -> Any:
        """The Lease's spec, of a leader."""
        path = (
            f"/apis/coordination.k8s.io/v1/namespaces/{self.site.namespace.name}"
            f"/leases/reconciler-{self.site.instance}"
        )

        def held() -> Any:
            lease = self.site.namespace.cluster.api.find(path)
            return lease["spec"] if lease and lease["spec"].get("holderIdentity") else None

        return eventually(held, "a leader")

    def strike(self, *, freeze: bool) -> timedelta:
        """Kill or freeze the leader; how long after its last renewal the other had the lease.

        Afterwards there are two again.
        """
        struck = self.lease()
        name = struck["holderIdentity"].rpartition("-")[0]
        process = self.processes[name]
        process.send_signal(signal.SIGSTOP if freeze else signal.SIGKILL)
        last: list[Any] = [struck]

        def taken() -> Any:
            lease = self.lease()
            if lease["holderIdentity"] == struck["holderIdentity"]:
                last.append(lease)
                return None
            return lease

        took = eventually(taken, "the other to take over")
        self.begun[name] = len(self.site.log_of(name))
        if freeze:
            process.send_signal(signal.SIGCONT)
        else:
            process.wait()
            self.start(name)
        return time_of(took["acquireTime"]) - time_of(last[-1]["renewTime"])

    def end(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            stop(process, signal.SIGKILL)


def says(log: str) -> str:
    """What a replica said last of whether it leads."""
    told = re.findall(r'"event": "(leading|standing by|not leading)', log)
    return told[-1] if told else ""


def time_of(text: str) -> datetime:
    return datetime.fromisoformat(text)


@contextmanager
def replicas(site: ClusterSite) -> Iterator[Replicas]:
    both = Replicas(site)
    try:
        for name in ("one", "two"):
            both.start(name)
        yield both
    finally:
        both.end()


@pytest.fixture
def site(tmp_path: Path, own_control_plane: Cluster) -> ClusterSite:
    return ClusterSite(tmp_path, Namespace(own_control_plane, "default"))


def moments(site: ClusterSite, names: list[str]) -> dict[str, Callable[[], object]]:
    """Where in a sync a leader can be struck, as what is then to be seen from outside."""
    before, heads = site.head_of_status(), heads_seen(site)

    def jobs(count: int) -> Callable[[], bool]:
        return lambda: len(site.jobs().keys() & set(names)) >= count

    return {
        "before anything": lambda: True,
        "when it has fetched": lambda: heads_seen(site) > heads,
        "after the first Job": jobs(1),
        "after some Jobs": jobs(2),
        "after the last Job": jobs(MODELS),
        "when a status was pushed": lambda: site.head_of_status() != before,
    }


def heads_seen(site: ClusterSite) -> int:
    return sum(site.log_of(replica).count("new head") for replica in ("one", "two"))


@pytest.mark.timeout(900)
def test_a_leader_killed_or_frozen_loses_nothing_and_repeats_nothing(site: ClusterSite) -> None:
    chance = random.Random(SEED)
    site.configure(kubernetes={"lease": f"{LEASE}s"})
    with replicas(site) as both:
        for number in range(ROUNDS):
            both.settle()
            names = [f"m{number}-{each}" for each in range(MODELS)]
            for name in names:
                site.model(name)
            seen = moments(site, names)
            site.push()
            if number:  # there are ends of runs to be noticed, too
                site.kubelet(site.job(f"m{number - 1}-0"), terminated(0))
            moment = chance.choice(sorted(seen))
            until(seen[moment], what=moment)
            both.strike(freeze=chance.random() < 0.5)
        names = [f"m{number}-{each}" for number in range(ROUNDS) for each in range(MODELS)]
        until(lambda: site.jobs().keys() == set(names), what="every Job")
        for job in site.jobs().values():
            if not job["status"].get("succeeded"):
                site.kubelet(job, terminated(0))
        until(lambda: set(site.phases().values()) == {"Ready"}, what="all to be Ready")
        keys = {n: j["metadata"]["labels"]["substratus.ai/key"] for n, j in site.jobs().items()}
    for replica in ("one", "two"):
        assert "Traceback" not in site.log_of(replica)
    assert created(site) == dict.fromkeys(keys.values(), 1), "one Job a key, and none again"
    assert {n: s["artifact"]["key"] for n, s in site.statuses().items()} == keys
    assert epochs(site) == sorted(epochs(site)), "nobody pushed after another had taken over"


def created(site: ClusterSite) -> Counter[str]:
    """How many Jobs were ever created for each key, by the API server's audit log.

    A creation whose client was killed meanwhile is logged as a timeout, although the Job is stored.
    """
    jobs = {job["metadata"]["name"]: job for job in site.jobs().values()}
    asked = [each for each in audit.asked(site.namespace.cluster) if each.what == "create jobs"]
    names = Counter(each.name for each in asked if each.code == 201)
    names.update({each.name for each in asked if each.code == 504} - names.keys())
    keys: Counter[str] = Counter()
    for name, count in names.items():
        keys[jobs[name]["metadata"]["labels"]["substratus.ai/key"]] += count
    return keys


def epochs(site: ClusterSite) -> list[int]:
    """Of the status commits, in their order."""
    form = "--format=%(trailers:key=Reconciler-Epoch,valueonly)"
    told = git(site.remote, "log", "--reverse", form, BRANCH)
    return [int(line) for line in told.split()]
