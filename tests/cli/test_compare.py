"""Artifacts of several objects are compared, for people and for programs."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection
from pathlib import Path

import pytest

from reconciler.git import LocalRepository
from reconciler.types import Commit, Kind, ObjectRef
from reconciler.workspace import CommitSubjects
from tests.cli.conftest import Cli
from tests.cli.example import Example
from tests.golden_files import kept


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """The base was trained twice, with other params."""
    example = Example(tmp_path_factory.mktemp("example") / "clone")
    example.sync()
    example.edit("models/base.yaml", "epochs: 20", "epochs: 30")
    example.commit("Train longer")
    example.sync()
    return example


@pytest.fixture
def example(synced: Example, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Example:
    monkeypatch.chdir(synced.root)
    return synced


def rows(cli: Cli, *arguments: str) -> list[dict[str, str]]:
    said = cli("compare", *arguments, "--format", "csv", code=0)
    return list(csv.DictReader(io.StringIO(said.out)))


def test_params_that_differ_and_the_metrics_are_columns(example: Example, cli: Cli) -> None:
    said = cli("compare", "digits-base", code=0)
    head, _, first, second, summary = said.out.splitlines()
    assert head.split() == ["KEY", "epochs", "accuracy", "CODE", "DURATION", "GPU", "SECONDS"]
    assert first.split()[1:] == [
        *("(current)", "30", "0.97", first.split()[4]),
        *("Start", "from", "the", "examples", "3m05s", "0"),
    ]
    assert second.split()[1] == "20"
    assert summary == "2 artifacts"


def test_names_keys_and_labels_select(example: Example, cli: Cli) -> None:
    record = example.records[ObjectRef(Kind.MODEL, "default", "digits-base")]
    assert record.artifact is not None
    one = rows(cli, record.artifact.key[:12], "tilted-cold")
    assert {row["name"] for row in one} == {"digits-base", "tilted-cold"}
    assert [row["key"] for row in one if row["name"] == "digits-base"] == [record.artifact.key]
    assert rows(cli, "digits-base", "digits-base") == rows(cli, "digits-base")
    sweep = rows(cli, "-l", "task=tilted")
    assert sweep
    assert all(row["name"].startswith("tilted-") for row in sweep)
    assert len(rows(cli)) > len(sweep)
    assert "no object is called digit" in cli("compare", "digit", code=1).err


def test_the_order_is_by_a_column_either_way(example: Example, cli: Cli) -> None:
    newest = [row["params.epochs"] for row in rows(cli, "digits-base")]
    assert newest == ["30", "20"]
    oldest = rows(cli, "digits-base", "--sort", "finished:asc")
    assert [row["params.epochs"] for row in oldest] == newest[::-1]
    wrong = cli("compare", "--sort", "accurracy", code=64)
    assert "no artifact has a metric accurracy; there is accuracy, finished" in wrong.err


def test_a_spreadsheet_takes_no_text_for_a_formula(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = Example(tmp_path / "clone")
    example.edit("models/base.yaml", "epochs: 20", 'epochs: 20, note: "=1+1"')
    example.commit("A formula")
    example.sync()
    monkeypatch.chdir(example.root)
    assert {row["params.note"] for row in rows(cli, "digits-base", "tilted-cold")} == {"'=1+1", ""}


def test_commits_that_the_clone_lacks_are_looked_up_together(
    example: Example, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "reconciler.yaml"
    config.write_text(f"repository: {{url: {example.root}}}\n")
    asked: list[Collection[Commit]] = []

    def of(_: CommitSubjects, commits: Collection[Commit]) -> dict[Commit, str]:
        asked.append(commits)
        return dict.fromkeys(commits, "Found elsewhere")

    monkeypatch.setattr(CommitSubjects, "of", of)
    monkeypatch.setattr(LocalRepository, "has", lambda *_: False)
    said = cli("compare", "--config", str(config), code=0)
    assert len(asked) == 1
    assert asked[0]
    assert said.out.count("Found elsewhere") > 1


def test_what_people_wrote_breaks_out_of_no_cell(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = Example(tmp_path / "clone")
    example.edit("models/base.yaml", "epochs: 20", 'epochs: 20, note: "a | b @you"')
    example.commit("A pipe")
    example.sync()
    monkeypatch.chdir(example.root)
    said = cli("compare", "digits-base", "tilted-cold", "--format", "markdown", code=0)
    assert "| `a \\| b @you` |" in said.out


def test_a_comparison_is_printed_as_it_is_kept(example: Example, cli: Cli) -> None:
    said = cli("compare", "digits-base", "--format", "json", code=0)
    # A commit is of every file of the examples.
    text = re.sub(r'"commit": "[0-9a-f]{40}"', '"commit": "…"', said.out)
    assert text == kept("compare.json", text)
    assert json.loads(said.out)["params"] == ["epochs"]
