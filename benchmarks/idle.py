"""A daemon that has nothing to do, on a real API server: look-ups, requests, CPU of a day.

With 1,000 finished Models and no change, a poll is one look-up of the remote's refs, and the API
server is asked for nothing but the Lease. The CPU of a day is worked out from a minute: that of the
Lease, by the defaults, and that of a poll, with git's, times the polls of a day. The baseline is as
many look-ups by hand.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.installation import finished, metric, until_synced
from benchmarks.process import cpu_seconds, exact_cpu_seconds, own_cpu_seconds, run_measured
from reconciler.config.schema import RepositorySection
from reconciler.engines.kubernetes.client import USER_AGENT
from tests.cluster import audit, lease
from tests.e2e.cluster_site import ClusterSite
from tests.e2e.site import git, stop
from tests.git.remotes import HttpRemote

MODELS = 1_000
ROUNDS = 5
#: Seconds of a round, and between polls where they are measured.
SECONDS, INTERVAL = 12.0, 0.5
#: Look-ups by hand in a round.
BY_HAND = 10
#: Seconds from the first sync until nothing of it is left to do.
SETTLED = 10.0
DAY = 86_400.0
#: Polls of a day, by the default interval.
POLLS = DAY / float(RepositorySection.model_fields["interval"].default)


@dataclass(frozen=True, slots=True)
class Span:
    """What a daemon without work has used in so many seconds: CPU, own and git's, and requests.

    ``polls`` are those that it counts itself, ``lookups`` those of the remote.
    """

    seconds: float
    cpu: float
    polls: int
    lookups: int
    asked: Counter[str]

    @property
    def others(self) -> int:
        """Requests at the API server that are neither of the Lease nor an open watch."""
        return sum(n for what, n in self.asked.items() if what not in _KEPT)


_KEPT = {"update leases", "watch jobs", "watch pods"}


def measure(
    models: int = MODELS, rounds: int = ROUNDS, seconds: float = SECONDS
) -> Iterator[Figure]:
    """Yield the figures of look-ups, requests and CPU."""
    with (
        tempfile.TemporaryDirectory() as name,
        lease.control_plane(Path(name, "c"), audit=True) as cluster,
    ):
        site = finished(Path(name, "site"), cluster, models)
        git(site.root / "repository", "config", "http.receivepack", "true")
        with closing(HttpRemote(site.root)) as forge:
            polling = _spans(site, forge, f"{INTERVAL}s", rounds, seconds)
            still = _spans(site, forge, "1h", rounds, seconds)
            by_hand = [_by_hand(forge, site.root) for _ in range(rounds)]
    yield Figure(
        name="idle.lookups",
        title="no change: look-ups of refs",
        baseline="polls",
        unit="look-ups",
        rounds=[(each.lookups, each.polls) for each in polling],
        aim=1.0,
    )
    yield Figure(
        name="idle.requests",
        title="no change: requests at the API server",
        baseline="renewals of the Lease",
        unit="requests",
        rounds=[(each.others, each.asked["update leases"]) for each in polling],
        aim_value=0.0,
    )
    yield Figure(
        name="idle.day",
        title=f"CPU of an idle day, {models:,} Models",
        baseline=f"{POLLS:,.0f} look-ups by hand",
        unit="s",
        rounds=[
            (_day(a, b), POLLS * raw) for a, b, raw in zip(polling, still, by_hand, strict=True)
        ],
        aim_value=10.0,
    )


def _day(polling: Span, still: Span) -> float:
    """CPU seconds of a day, from those with polls and without."""
    rest = still.cpu / still.seconds
    poll = (polling.cpu - rest * polling.seconds) / polling.lookups
    return rest * DAY + poll * POLLS


def _spans(
    site: ClusterSite, forge: HttpRemote, interval: str, rounds: int, seconds: float
) -> list[Span]:
    site.configure_section("repository", url=forge.url("repository/.git"), interval=interval)
    site.configure_section("kubernetes", lease="15s")
    site.configure_section("status", interval="5s")
    daemon = site.daemon()
    try:
        until_synced(site, daemon)
        time.sleep(SETTLED)
        return [_span(daemon.pid, site, forge, seconds) for _ in range(rounds)]
    finally:
        stop(daemon)


def _span(pid: int, site: ClusterSite, forge: HttpRemote, seconds: float) -> Span:
    cluster = site.namespace.cluster
    begun, polls, lookups = len(audit.lines(cluster)), _polls(site), _lookups(forge)
    start, before = time.monotonic(), _used(pid)
    time.sleep(seconds)
    cpu, taken = _used(pid) - before, time.monotonic() - start
    return Span(
        seconds=taken,
        cpu=cpu,
        polls=_polls(site) - polls,
        lookups=_lookups(forge) - lookups,
        asked=Counter(a.what for a in audit.asked(cluster, agent=USER_AGENT, since=begun)),
    )


def _used(pid: int) -> float:
    """CPU without ticks, and with those that count of the gits that it has started."""
    return exact_cpu_seconds(pid) + cpu_seconds(pid) - own_cpu_seconds(pid)


def _lookups(forge: HttpRemote) -> int:
    return sum("/info/refs?" in path for path, _ in forge.requests)


def _polls(site: ClusterSite) -> int:
    """The fetches that the daemon says it has made."""
    return int(metric(site, "reconciler_fetch_duration_seconds_count"))


def _by_hand(forge: HttpRemote, folder: Path) -> float:
    """Return the CPU of a look-up; that of the server is not in it."""
    command = ["git", "ls-remote", "--quiet", forge.url("repository/.git"), "refs/heads/main"]
    return sum(run_measured(command, folder, quiet=True)[0] for _ in range(BY_HAND)) / BY_HAND
