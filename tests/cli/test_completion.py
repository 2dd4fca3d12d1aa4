"""Shells complete commands, options, and the names of objects."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, command
from tests.cli.example import Example
from tests.e2e.site import environment
from tests.processes import run


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_completion_it_can_read(cli: Cli, shell: str, tmp_path: Path) -> None:
    said = cli("completion", shell, code=0)
    assert "_RECONCILER_COMPLETE" in said.out
    if shutil.which(shell):
        file = tmp_path / "completion"
        file.write_text(said.out)
        subprocess.run([shell, "-n", str(file)], check=True)


def complete(folder: Path, words: str, position: int) -> list[str]:
    """What bash is answered."""
    done = run(
        command(),
        cwd=folder,
        env={
            **environment(),
            "_RECONCILER_COMPLETE": "bash_complete",
            "COMP_WORDS": f"reconciler {words}",
            "COMP_CWORD": str(position),
        },
        check=True,
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_names_are_completed_from_the_status_branch(tmp_path: Path) -> None:
    example = Example(tmp_path / "clone")
    example.sync()
    assert complete(example.root, "why tilted", 2) == [
        "tilted-cold", "tilted-full", "tilted-gentle", "tilted-head",
    ]  # fmt: skip
    assert complete(example.root, "stat", 1) == ["status"]
    assert complete(example.root, "status --phase Re", 3) == ["ready", "rejected"]


def test_without_a_repository_nothing_is_completed(tmp_path: Path) -> None:
    assert complete(tmp_path, "why x", 2) == []
