"""A source in a folder of the manifest repository that does not exist is an error of its field."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.example import Example


@pytest.fixture
def example(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Example:
    example = Example(tmp_path / "clone")
    example.sync()
    monkeypatch.chdir(example.root)
    return example


@pytest.mark.parametrize("kind", ["nothing", "a file", "a link"])
def test_a_missing_folder_is_told_by_validate_and_plan(
    example: Example, cli: Cli, kind: str
) -> None:
    folder = example.root / "sources" / "digits-mlp"
    folder.rename(folder.with_name("moved"))
    if kind == "a file":
        folder.touch()
    elif kind == "a link":
        folder.symlink_to("moved")
    example.commit("Move the source")
    error = (
        'error: spec.source.git.path: there is no folder "sources/digits-mlp" in this repository'
    )
    for call in (("validate",), ("plan", "--base", "HEAD~1", "--head", "HEAD")):
        told = cli(*call)
        assert told.code == (2 if call == ("validate",) else 1)
        assert "models/base.yaml:" in told.out
        assert error in told.out
    assert "removed" not in cli("plan", "--base", "HEAD~1", "--head", "HEAD").out


def test_folders_are_looked_for_from_the_root_of_the_clone(
    example: Example, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(example.root / "models")
    assert "there is no folder" not in cli("validate").out
