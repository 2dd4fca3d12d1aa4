"""Whose secret a command gets: each namespace has files of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.engine import FailureClass, RunPhase
from reconciler.engines.local.environment import read_secrets
from reconciler.engines.local.failures import SecretError
from reconciler.types import SecretKey
from tests.engines.local.bench import Bench, reason


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Secrets of the namespaces default and team-b, one of the former with the latter's name."""
    for name, value in {
        "hf/token": "of default",
        "team-b-token/key": "of default",
        "team-b/key": "of default",
        "team-b/hf/token": "of team-b",
        "team-b/team-a/token": "of team-b",
    }.items():
        file = tmp_path / "secrets" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
    return tmp_path / "secrets"


def read(folder: Path, namespace: str, name: str, key: str) -> str:
    return read_secrets(str(folder), namespace, {"X": SecretKey(name, key)})["X"]


def test_a_namespace_reads_its_own_secrets(folder: Path) -> None:
    assert read(folder, "default", "hf", "token") == "of default"
    assert read(folder, "default", "team-b", "key") == "of default"
    assert read(folder, "team-b", "hf", "token") == "of team-b"


@pytest.mark.parametrize(
    ("namespace", "name", "key"),
    [
        ("team-a", "team-b-token", "key"),
        ("team-a", "hf", "token"),
        ("team-b", "team-b-token", "key"),
        ("team-b-token", "key", "key"),
        ("team-b", "key", "key"),
        ("hf", "token", "token"),
        ("default", "team-b", "hf"),
        ("default", "team-b", "team-a"),
        ("team-a", "team-b", "hf"),
        ("team-a", "token", "token"),
    ],
)
def test_no_name_leads_to_another_namespaces_secret(
    folder: Path, namespace: str, name: str, key: str
) -> None:
    own = folder if namespace == "default" else folder / namespace
    with pytest.raises(SecretError, match=f"there is no file {own / name / key}$"):
        read(folder, namespace, name, key)


async def test_a_run_gets_the_secret_of_its_namespace_alone(bench: Bench) -> None:
    for name in ("hf", "team-a/wandb"):
        (bench.secrets / name).mkdir(parents=True)
        (bench.secrets / name / "token").write_text(f"{name}\n")
    async with bench.engine() as engine:
        await bench.succeed(
            'test "$X" = team-a/wandb',
            engine,
            namespace="team-a",
            secret_env={"X": SecretKey("wandb", "token")},
        )
        _, run = await bench.carry_out(
            "true",
            engine,
            text="other",
            namespace="team-a",
            secret_env={"X": SecretKey("hf", "token")},
        )
    assert (run.phase, run.failure) == (RunPhase.FAILED, FailureClass.INFRASTRUCTURE)
    assert f"there is no file {bench.secrets / 'team-a' / 'hf' / 'token'}" in reason(run)
