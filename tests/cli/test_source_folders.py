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


def test_the_source_of_an_evaluation_is_checked_as_that_of_its_object(
    example: Example, tmp_path: Path, cli: Cli
) -> None:
    (example.root / "models" / "tested.yaml").write_text(
        "kind: Model\nmetadata: {name: tested}\nspec:\n"
        "  source: {git: {url: ., path: sources/digits-mlp}}\n"
        "  evaluation:\n    command: [test.sh]\n"
        "    source: {git: {url: ., path: sources/tests}}\n"
    )
    told = cli("validate")
    assert told.code == 2
    error = 'error: spec.evaluation.source.git.path: there is no folder "sources/tests"'
    assert error in told.out
    other = (example.root / "models" / "tested.yaml").read_text()
    other = other.replace("{url: ., path: sources/tests}", "{url: 'https://git.test/team/tests'}")
    (example.root / "models" / "tested.yaml").write_text(other)
    config = tmp_path / "reconciler.yaml"
    config.write_text("repository: {url: ./clone}\nsources: {allow: ['https://git.test/x/*']}\n")
    told = cli("validate", "--config", str(config))
    assert told.code == 2
    assert "spec.evaluation.source.git.url: " in told.out
