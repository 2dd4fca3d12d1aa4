"""A process that holds a cluster and can be killed, as a test process can."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

_HOLD = """
import sys, time
from pathlib import Path
from tests.cluster import lease
with getattr(lease, sys.argv[1])(Path(sys.argv[2])) as cluster:
    print(cluster.server, flush=True)
    time.sleep(600)
"""


@dataclass(frozen=True)
class Held:
    """``keeper`` is the process that runs the cluster, ``process`` the only one that wants it."""

    process: subprocess.Popen[str]
    keeper: psutil.Process
    server: str


@contextmanager
def holder(folder: Path, kind: str) -> Iterator[Held]:
    """Hold a cluster of this kind (a function of `lease`) in ``folder`` from another process."""
    command = [sys.executable, "-c", _HOLD, kind, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            server = process.stdout.readline().strip()
            assert server, "the cluster did not come up"
            (keeper,) = (p for p in processes_of(folder) if "tests.cluster.keeper" in p.cmdline())
            yield Held(process, keeper, server)
        finally:
            process.kill()


def processes_of(folder: Path) -> list[psutil.Process]:
    """Those that have the folder on their command line and are no test, nor dead."""
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if line[1:2] != ["-c"] and any(str(folder) in part for part in line):
            found.append(process)
    return found
