"""Argo CD's engine, beside raw creates: 1,000 Jobs, and a sync that changes nothing.

Its agent, the example of gitops-engine, applies the Jobs that we would make of 1,000 Models, as
manifests in a folder with a Git repository. The first sync counts from the agent's start, to the
last Job; the other from the request for it, to its report. The baseline creates the same bodies,
over as many connections as ours. The agent is built with Go, some minutes the first time.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from benchmarks.figures import Figure
from benchmarks.installation import count_jobs
from benchmarks.many_jobs import RAW, create_raw, empty
from benchmarks.process import own_cpu_seconds, peak_mebibytes
from tests.cluster import lease
from tests.cluster.build import programs
from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterUnavailable
from tests.cluster.fixtures import Namespace
from tests.cluster.ports import free
from tests.e2e.cluster_site import ClusterSite
from tests.e2e.site import git
from tests.patience import PATIENCE
from tests.processes import run

MODELS = 1_000
ROUNDS = 5
THEIRS = "argocd"
#: Fields of Jobs that are newer than its Kubernetes, 1.23: it compares no Job that has one.
UNKNOWN = ("podFailurePolicy", "podReplacementPolicy")
#: The heading of the agent's report of a sync.
REPORT = "RESOURCE"


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of the first sync, its CPU and MiB at the peak; of one without a change; by hand."""

    wall: float
    cpu: float
    peak: float
    still_wall: float
    still_cpu: float
    raw: float
    raw_cpu: float


def measure(models: int = MODELS, rounds: int = ROUNDS) -> Iterator[Figure]:
    """Yield the figures of both syncs; none where there is no Go."""
    try:
        agent = programs("gitops-engine")["agent"]
    except ClusterUnavailable as error:
        print(f"Argo CD's engine is left out: {error}", flush=True)
        return
    with tempfile.TemporaryDirectory() as name, lease.control_plane(Path(name, "c")) as cluster:
        for namespace in (THEIRS, RAW):
            cluster.api.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
        bodies = _bodies(Path(name, "site"), cluster, models)
        found = [_round(Path(name, "theirs"), cluster, agent, bodies) for _ in range(rounds)]
    creates = "raw creates of them"
    for part, title, unit, pairs in (
        (
            "wall",
            f"Argo CD's engine, the same {models:,} Jobs",
            "s",
            [(r.wall, r.raw) for r in found],
        ),
        ("cpu", "its CPU for them", "s", [(r.cpu, r.raw_cpu) for r in found]),
        ("still.wall", "its sync without a change", "s", [(r.still_wall, r.raw) for r in found]),
        ("still.cpu", "its CPU for that", "s", [(r.still_cpu, r.raw_cpu) for r in found]),
    ):
        yield Figure(name=f"argocd.{part}", title=title, baseline=creates, unit=unit, rounds=pairs)
    yield Figure(
        name="argocd.peak",
        title="its memory at the peak",
        baseline="our aim",
        unit="MiB",
        rounds=[(each.peak, 110.0) for each in found],
    )


def _round(folder: Path, cluster: Cluster, agent: Path, bodies: list[bytes]) -> Round:
    _write(folder, bodies)
    port = free(1)[0]
    command = [str(agent), str(folder), "--kubeconfig", str(cluster.kubeconfig), "--namespaced"]
    options = ["--default-namespace", THEIRS, "--namespace", THEIRS, f"--port={port}"]
    log = folder.with_suffix(".log")
    with log.open("w") as output:
        start = time.perf_counter()
        process = subprocess.Popen([*command, *options], stdout=output, stderr=output)
    try:
        _await(process, log, lambda: count_jobs(cluster, THEIRS) == len(bodies))
        wall = time.perf_counter() - start
        _await(process, log, lambda: REPORT in log.read_text())
        cpu, peak = own_cpu_seconds(process.pid), peak_mebibytes(process.pid)
        reports = log.read_text().count(REPORT)
        start = time.perf_counter()
        urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/sync", timeout=30).close()
        _await(process, log, lambda: log.read_text().count(REPORT) > reports)
        still_wall = time.perf_counter() - start
        still_cpu = own_cpu_seconds(process.pid) - cpu
    finally:
        process.terminate()
        process.wait()
    raw_cpu = time.process_time()
    raw = asyncio.run(create_raw(cluster, bodies))
    raw_cpu = time.process_time() - raw_cpu
    for namespace in (THEIRS, RAW):
        empty(cluster, namespace)
    return Round(wall, cpu, peak, still_wall, still_cpu, raw, raw_cpu)


def _await(process: subprocess.Popen[bytes], log: Path, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 4 * PATIENCE
    while not condition():
        failed = process.poll() is not None or "Failed to synchronize" in log.read_text()
        if failed or time.monotonic() > end:
            raise SystemExit(f"the agent does not get on: {log.read_text()[-2000:]}")
        time.sleep(0.01)


def _write(folder: Path, bodies: list[bytes]) -> None:
    """Write manifests into a work tree whose head is a commit, which the agent asks for."""
    if folder.exists():
        return
    (folder / "jobs").mkdir(parents=True)
    for number, body in enumerate(bodies):
        job = json.loads(body)
        job["metadata"]["namespace"] = THEIRS
        (folder / "jobs" / f"{number}.json").write_text(json.dumps(job))
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Jobs")


def _bodies(folder: Path, cluster: Cluster, models: int) -> list[bytes]:
    """Render the Job of a Model, suspended, and make it of others by their names."""
    folder.mkdir()
    site = ClusterSite(folder, Namespace(cluster, THEIRS))
    site.push_model("model-name", more="    queue: q\n")
    render = site.command("render", "model-name", "--repo", str(site.work), "--task", "train")
    done = run(render, env=site.environment(), check=True)
    rendered = YAML(typ="safe").load_all(done.stdout)
    (job,) = [each for each in rendered if each["kind"] == "Job"]
    job["metadata"].pop("namespace", None)
    for name in UNKNOWN:
        job["spec"].pop(name, None)
    text = json.dumps(job)
    return [text.replace("model-name", f"model-{number}").encode() for number in range(models)]
