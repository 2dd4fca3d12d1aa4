"""The scripts that stand in pods: what a shell makes of them; what they do is seen on a node."""

from __future__ import annotations

from pathlib import Path

import pytest

import reconciler.engines.kubernetes as package
from tests.processes import run

FOLDER = Path(package.__file__).parent
SCRIPTS = ["source.sh", "buildkit.sh", "buckets/rclone.sh"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_one(name: str) -> None:
    done = run(["sh", "-n", FOLDER / name])
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", SCRIPTS)
def test_kubernetes_would_change_nothing_in_a_script(name: str) -> None:
    """``$$`` would be one dollar and ``$(A)`` a variable; what has a blank in it is none."""
    text = (FOLDER / name).read_text()
    assert "$$" not in text
    starts = [part.split(")")[0] for part in text.split("$(")[1:]]
    assert all(" " in command for command in starts)
