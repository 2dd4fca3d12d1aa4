"""A daemon that is killed at any step of a collection: nothing half-done is an artifact."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.daemon.test_retention import HIDDEN, SOON, artifacts, retention, states, trained
from tests.e2e.saved_site import SavedSite
from tests.e2e.site import Site, environment
from tests.patience import PATIENCE
from tests.processes import run

__all__ = ["trained"]

MARKER = "completed.json"


@pytest.fixture
def site(trained: SavedSite) -> Site:
    return trained.restored()


def killed(site: Site, step: int) -> bool:
    """Run once, killed before the step-th change of the collection; False if it has fewer."""
    config = str(site.root / "reconciler.yaml")
    command = [sys.executable, "-m", "tests.daemon.collection_victim", str(step), config]
    root = Path(__file__).resolve().parents[2]
    done = run(command, env=environment(), cwd=root, timeout=PATIENCE)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def check(site: Site, folders: list[Path]) -> None:
    """What has a marker, of either kind, has its weights; the newest is untouched."""
    for folder in folders:
        if (folder / MARKER).exists() or (folder / HIDDEN).exists():
            assert (folder / "weights").read_text() == "x\n", "half of it is called an artifact"
    assert (folders[-1] / MARKER).exists()
    assert site.phases() == {"a": "Ready"}


@pytest.mark.parametrize("grace", ["7d", SOON], ids=["hidden", "removed"])
def test_killed_ever_later_a_collection_comes_to_its_end(site: Site, grace: str) -> None:
    folders = artifacts(site)
    retention(site, enabled=True, grace="7d")
    if grace == SOON:
        assert site.run_once().returncode == 0
        retention(site, enabled=True, grace=grace)
    kills = 0
    while killed(site, kills + 1):
        kills += 1
        check(site, folders)
    assert kills >= 2
    assert site.run_once().returncode == 0
    left = HIDDEN if grace == "7d" else "nothing"
    assert states(site) == [left, left, MARKER]
    marks = {"7d": "hidden", SOON: "collected"}[grace]
    assert all(marks in entry for entry in site.statuses()["a"]["history"][1:3])
    assert site.ran() == {}
