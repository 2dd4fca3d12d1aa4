"""The package alone, as a user gets it: nothing of the checkout is there."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import processes
from tests.e2e.site import environment, git

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str, folder: Path, code: int = 0) -> str:
    path = f"{Path(command[0]).parent}{os.pathsep}{os.environ['PATH']}"
    done = processes.run(command, cwd=folder, env={**environment(), "PATH": path})
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow("installs the package and the examples' requirements, and trains them")
@pytest.mark.timeout(900)
def test_the_first_ten_minutes_from_the_installed_package(tmp_path: Path) -> None:
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


def statuses(reconciler: str, folder: Path) -> dict[str, dict[str, Any]]:
    documents = json.loads(run(reconciler, "status", "--format", "json", folder=folder))
    return {d["metadata"]["name"]: d["status"] for d in documents}


def key(status: dict[str, Any]) -> str | None:
    return status["artifact"]["key"] if "artifact" in status else None
