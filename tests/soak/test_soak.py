"""A minute of use and misuse by chance; ``make soak`` has hours of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.fixtures import Namespace
from tests.processes import run
from tests.soak.accounts import FinishedKeys, Start
from tests.soak.cluster import ClusterArena
from tests.soak.repository import Repository, cluster_manifests, local_manifests
from tests.soak.soak import Soak, drawn

SEED = 7


@pytest.mark.slow("a minute of a daemon's life")
def test_a_daemon_that_is_used_and_misused_ends_as_a_new_one_would(tmp_path: Path) -> None:
    options = {"minutes": 0, "steps": 20, "pace": 0.5, "seed": SEED, "folder": tmp_path / "soak"}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    done = run([sys.executable, "-m", "tests.soak", *words], timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "calm 1: 0 violations" in done.stdout


def test_a_daemon_of_a_cluster_that_is_used_and_misused_ends_as_a_new_one_would(
    tmp_path: Path, own_control_plane: Cluster
) -> None:
    own_control_plane.api.create("/api/v1/namespaces", {"metadata": {"name": "soak"}})
    root = tmp_path / "site"
    root.mkdir()
    told: list[str] = []
    arena = ClusterArena(root, told.append, Namespace(own_control_plane, "soak"))
    soak = Soak(arena, seed=SEED, pace=0.5, say=told.append)
    try:
        soak.disturb(15)
        soak.calm()
    finally:
        arena.close()
    assert not arena.violations, "\n".join([*told, soak.report()])


def test_a_seed_pushes_the_same_again() -> None:
    for manifests in (local_manifests, cluster_manifests):
        pushes = []
        for _ in range(2):
            repository = Repository.of(manifests(), "/ledger")
            for step in range(1, 100):
                repository.remember()
                repository.change(drawn(SEED, step))
            pushes.append(repository.files())
        assert pushes[0] == pushes[1]


def test_a_command_that_begins_while_its_key_is_finished_is_seen() -> None:
    finished, here, there = FinishedKeys(), Path("/a/key"), Path("/b/key")

    def again(at: float, folder: Path = here) -> bool:
        return finished.again(Start(at, "name", folder, 1))

    finished.finish(here, 10)
    finished.damage(here, 20)
    finished.finish(here, 30)
    assert [at for at in (5, 15, 25, 35) if again(at)] == [15, 35]
    assert again(35, there)
    finished.forget(40)
    assert again(45)
    assert not again(45, there), "a bucket that is not looked into"


def test_a_marker_is_noticed_once_and_not_again_after_its_damage(tmp_path: Path) -> None:
    finished, artifact = FinishedKeys(), tmp_path / "key"
    artifact.mkdir()
    (artifact / "completed.json").write_text("{}")
    finished.damaged(artifact)
    finished.look(artifact / "completed.json")
    assert not finished.again(Start(float("inf"), "name", artifact, 1))
