"""A real Prometheus, Debian's, that scrapes a daemon and evaluates the project's rules."""

from __future__ import annotations

import json
import math
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster.ports import free
from tests.e2e.site import until
from tests.e2e.test_operation import get
from tests.needs import program
from tests.processes import run

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"


def tool(name: str) -> str:
    return program(name, package="prometheus")


def check_metrics(exposition: str) -> None:
    """What is served is as promtool wants it."""
    done = run([tool("promtool"), "check", "metrics"], input=exposition)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def ask(at: str, query: str, *, ago: float = 0) -> list[Any]:
    """The answer as it is now, or was some seconds ago."""
    asked = urllib.parse.urlencode({"query": query, "time": time.time() - ago})
    answer = json.loads(get(f"{at}/api/v1/query?{asked}"))
    assert answer["status"] == "success", answer
    found: list[Any] = answer["data"]["result"]
    return found


def finds(at: str, query: str, *, ago: float = 0) -> bool:
    """Whether there is a number in the answer."""
    return any(math.isfinite(float(series["value"][1])) for series in ask(at, query, ago=ago))


@contextmanager
def prometheus(server: str, target: str, folder: Path, **others: str) -> Iterator[str]:
    """A Prometheus that scrapes the target every second, for as long as the block.

    ``others`` are more targets, each by the name of its job.
    """
    (port,) = free(1)
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {
                "job_name": job,
                "honor_labels": True,
                # As service discovery on a cluster labels it: with the namespace of the pod.
                "static_configs": [{"targets": [each], "labels": {"namespace": "reconciler"}}],
            }
            for job, each in {"reconciler": target, **others}.items()
        ],
    }
    (folder / "prometheus.yaml").write_text(json.dumps(config))
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [
                server,
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        at = f"http://127.0.0.1:{port}"
        until(lambda: answers(f"{at}/-/ready"), what="Prometheus")
        yield at
    finally:
        process.terminate()
        process.wait(30)


def answers(url: str) -> bool:
    try:
        return "Ready" in get(url)
    except OSError:
        return False
