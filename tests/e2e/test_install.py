"""The package alone, as a user gets it: nothing of the checkout is there."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import processes
from tests.cluster.ports import free
from tests.e2e.site import environment, git, until
from tests.e2e.test_operation import get
from tests.patience import PATIENCE

ROOT = Path(__file__).resolve().parents[2]


def variables(program: str) -> dict[str, str]:
    """The environment of a program, which finds those beside it first."""
    path = f"{Path(program).parent}{os.pathsep}{os.environ['PATH']}"
    return {**environment(), "PATH": path}


def run(*command: str, folder: Path, code: int = 0) -> str:
    done = processes.run(command, cwd=folder, env=variables(command[0]))
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow("installs the package and the examples' requirements, and trains them")
@pytest.mark.timeout(900)
def test_the_first_ten_minutes_from_the_installed_package(tmp_path: Path) -> None:
    began = time.monotonic()
    run(sys.executable, "-m", "venv", "empty", folder=tmp_path)
    python = str(tmp_path / "empty" / "bin" / "python")
    run(python, "-m", "pip", "install", "--quiet", str(ROOT), folder=tmp_path)
    reconciler = str(tmp_path / "empty" / "bin" / "reconciler")

    told = run(reconciler, "init", "demo", folder=tmp_path)
    assert "reconciler run --once" in told
    demo = tmp_path / "demo"
    assert git(demo, "status", "--porcelain") == "", "everything is committed"

    run(reconciler, "run", "--once", folder=demo)
    first = statuses(reconciler, demo)
    assert {s["phase"] for s in first.values()} == {"Ready", "Suspended"}
    assert first["digits-base"]["artifact"]["metrics"]["accuracy"] > 0.9
    assert git(demo, "status", "--porcelain") == "", "state is ignored"

    models = demo / "models" / "finetune.yaml"
    models.write_text(re.sub(r"epochs: 5\b", "epochs: 6", models.read_text()))
    git(demo, "commit", "--quiet", "--all", "--message", "One epoch more")
    plan = run(reconciler, "plan", "--base", "HEAD~1", "--head", "HEAD", folder=demo, code=2)
    assert "training.params.epochs: 5 → 6" in plan
    run(reconciler, "run", "--once", folder=demo)
    second = statuses(reconciler, demo)
    changed = [name for name in first if key(first[name]) != key(second[name])]
    assert changed == ["tilted-gentle"]

    git(demo, "revert", "--no-edit", "HEAD")
    run(reconciler, "run", "--once", folder=demo)
    assert {n: key(s) for n, s in statuses(reconciler, demo).items()} == {
        n: key(s) for n, s in first.items()
    }

    last = statuses(reconciler, demo)
    base, production = last["digits-base"], last["digits-production"]
    assert [task["phase"] for task in base["tasks"] if task["task"] == "evaluate"] == ["Succeeded"]
    verdicts = {entry["key"]: entry.get("verdict") for entry in base["history"]}
    assert verdicts[base["artifact"]["key"]] == "Accepted"
    assert "candidate" not in base
    assert production["artifact"] == last["tilted-full"]["artifact"], "it is promoted"
    assert production["served"][-1]["key"] == last["tilted-full"]["artifact"]["key"]

    with daemon(reconciler, demo) as url:
        page = get(f"{url}/objects/default/models/digits-base")
        told = get(f"{url}/") + page
    curves = re.search(r"Curves of train, attempt 1</h2>.*?</section>", page, re.DOTALL)
    assert curves is not None
    for name in ("accuracy", "loss"):
        drawn = rf'<svg [^>]*aria-label="{name}: [^>]*>\s*<path d="M[^"L]+ L'
        assert re.search(drawn, curves[0]), f"{name} is a line of two points or more"
    assert 'class="alert' not in told
    seconds = time.monotonic() - began
    sys.stdout.write(f"{seconds:.0f} s from an empty environment to the curves\n")


@contextmanager
def daemon(reconciler: str, folder: Path) -> Iterator[str]:
    """The daemon, once it has synced; yields the address of its page."""
    address = f"127.0.0.1:{free(1)[0]}"
    url, log = f"http://{address}", folder.parent / "daemon.log"
    place = {"RECONCILER_SERVER__ADDRESS": address}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [reconciler, "run"],
            cwd=folder,
            env={**variables(reconciler), **place},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: process.poll() is not None or is_ready(url), what="the first sync")
        assert process.poll() is None, log.read_text()
        yield url
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, log.read_text()
        levels = [json.loads(line)["level"] for line in log.read_text().splitlines()]
        assert set(levels) == {"info"}, log.read_text()
    finally:
        process.kill()
        process.wait()


def is_ready(url: str) -> bool:
    try:
        return get(f"{url}/readyz") == "ok\n"
    except OSError:  # it does not listen yet, or answers 503
        return False


def statuses(reconciler: str, folder: Path) -> dict[str, dict[str, Any]]:
    documents = json.loads(run(reconciler, "status", "--format", "json", folder=folder))
    return {d["metadata"]["name"]: d["status"] for d in documents}


def key(status: dict[str, Any]) -> str | None:
    return status["artifact"]["key"] if "artifact" in status else None
