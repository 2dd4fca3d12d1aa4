"""``reconciler init``: on machines as they are."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pygit2
import pytest

from tests.cli.conftest import Cli, command
from tests.processes import run


def init(home: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """A process of its own: libgit2 looks for the user's configuration once."""
    return run(command("init", str(folder)), env={"PATH": os.environ["PATH"], "HOME": str(home)})


@pytest.mark.parametrize("user", ["", "[user]\n\tname =\n\temail =\n", "[user]\n\tname = Jo\n"])
def test_who_has_not_told_git_their_name_gets_a_commit_all_the_same(
    tmp_path: Path, user: str
) -> None:
    (tmp_path / ".gitconfig").write_text(user)
    done = init(tmp_path, tmp_path / "demo")
    assert done.returncode == 0, done.stderr
    assert pygit2.Repository(tmp_path / "demo").head.peel(pygit2.Commit).author.name == "reconciler"


def test_a_configuration_that_git_cannot_read_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / ".gitconfig").write_text("[user\n")
    done = init(tmp_path, tmp_path / "demo")
    assert done.returncode == 1
    assert ".gitconfig" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("was_there", [True, False])
def test_a_folder_that_cannot_be_filled_is_left_as_it_was(tmp_path: Path, was_there: bool) -> None:
    (tmp_path / ".gitconfig").write_text("[user\n")
    folder = tmp_path / "demo"
    if was_there:
        folder.mkdir()
    assert init(tmp_path, folder).returncode == 1
    assert folder.exists() == was_there
    (tmp_path / ".gitconfig").unlink()
    assert init(tmp_path, folder).returncode == 0


def test_what_is_no_empty_folder_is_bad_usage(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cli("init", ".", code=64)
    said = cli("init", "file", code=64)
    assert "Directory 'file' is a file" in said.err


def test_the_next_steps_enter_the_folder_unless_it_is_the_current_one(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "  cd demo\n" in cli("init", "demo", code=0).out
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    said = cli("init", ".", code=0).out
    assert "  cd " not in said
    assert "  reconciler run --once" in said


def test_a_folder_that_cannot_be_made_is_one_clear_line(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = cli("init", "file/demo", code=64)
    assert said.err.endswith("file/demo cannot be made: Not a directory\n")
