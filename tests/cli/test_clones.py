"""Clones as CI systems, other users and beginners make them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.example import Example


@pytest.fixture
def example(tmp_path: Path) -> Example:
    example = Example(tmp_path / "origin")
    example.edit("models/base.yaml", "epochs: 20", "epochs: 30")
    example.commit("Train longer")
    for setting in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
        example.git("config", setting, "true")
    return example


def partial_clone(example: Example, *options: str) -> Path:
    folder = example.root.with_name("clone")
    example.git("clone", "--quiet", *options, example.root.as_uri(), str(folder))
    return folder


PLAN = ("plan", "--base", "HEAD~1", "--head", "HEAD")


@pytest.mark.parametrize("left_out", ["blob:none", "tree:0"])
def test_what_a_partial_clone_has_left_out_is_fetched(
    example: Example, cli: Cli, left_out: str
) -> None:
    whole = cli(*PLAN, "--repo", str(example.root))
    assert whole.code == 2
    assert cli(*PLAN, "--repo", str(partial_clone(example, f"--filter={left_out}"))) == whole


def test_a_partial_clone_whose_remote_is_gone_is_told_for_one(example: Example, cli: Cli) -> None:
    folder = partial_clone(example, "--filter=blob:none")
    example.root.rename(example.root.with_name("elsewhere"))
    said = cli(*PLAN, "--repo", str(folder))
    assert said.code == 1
    assert "is a partial clone, and what it has left out cannot be fetched from origin" in said.err


def test_a_clone_without_a_commit_is_told_so(cli: Cli, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path / "new")], check=True)
    said = cli(*PLAN, "--repo", "new")
    assert said.code == 1
    assert said.err.endswith("nothing is committed on the branch that is checked out\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_clone_of_another_user_is_told_with_the_remedy(example: Example, cli: Cli) -> None:
    for folder in (example.root, example.root / ".git"):
        os.chown(folder, 65534, 65534)
    said = cli(*PLAN, "--repo", str(example.root))
    assert said.code == 1
    assert "it belongs to another user" in said.err
    assert f"git config --global --add safe.directory {example.root}" in said.err
