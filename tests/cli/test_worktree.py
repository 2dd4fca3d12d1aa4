"""``plan`` of the working tree: what is not committed yet, against the branch's upstream."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.example import Example

#: When a file and the index were written.
SECOND = 1_700_000_000


@pytest.fixture
def example(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Example:
    """A clone with an upstream, whose status is that of a sync of all."""
    example = Example(tmp_path / "clone")
    example.sync()
    remote = tmp_path / "remote.git"
    example.git("clone", "--quiet", "--bare", str(example.root), str(remote))
    example.git("remote", "add", "origin", str(remote))
    example.git("fetch", "--quiet", "origin")
    example.git("branch", "--set-upstream-to", "origin/main")
    monkeypatch.chdir(example.root)
    return example


def test_what_is_not_committed_is_planned_and_nothing_changes(example: Example, cli: Cli) -> None:
    assert cli("plan", code=0).err == ""
    example.edit("models/base.yaml", "epochs: 20", "epochs: 30")
    (example.root / "models" / "new.yaml").write_text(
        "kind: Model\nmetadata: {name: new}\n"
        "spec: {source: {model: {name: digits-base}}, training: {params: {epochs: 1}}}\n"
    )
    objects = sorted((example.root / ".git" / "objects").rglob("*"))
    before = example.git("status", "--porcelain")
    plan = cli("plan", code=2).out
    assert "training.params.epochs: 20 → 30" in plan
    assert "Model default/new" in plan
    assert example.git("status", "--porcelain") == before
    assert sorted((example.root / ".git" / "objects").rglob("*")) == objects


def test_a_change_of_equal_size_in_the_second_of_the_index_is_seen(
    example: Example, cli: Cli
) -> None:
    example.git("config", "core.trustctime", "false")  # the only time that no test can set
    file, index = example.root / "models" / "base.yaml", example.root / ".git" / "index"
    os.utime(file, (SECOND, SECOND))
    example.git("update-index", "--refresh")
    os.utime(index, (SECOND, SECOND))
    example.edit("models/base.yaml", "epochs: 20", "epochs: 30")
    os.utime(file, (SECOND, SECOND))
    assert "training.params.epochs: 20 → 30" in cli("plan", code=2).out


def test_a_commit_that_is_not_pushed_belongs_to_the_change(example: Example, cli: Cli) -> None:
    example.edit("models/base.yaml", "epochs: 20", "epochs: 30")
    example.commit("Longer")
    assert "epochs: 20 → 30" in cli("plan", code=2).out
    cli("plan", "--base", "HEAD", "--head", "WORKTREE", code=2)
    assert "epochs: 20 → 30" not in cli("plan", "--base", "HEAD").out


def test_a_source_in_the_working_tree_is_built_anew(example: Example, cli: Cli) -> None:
    example.edit("sources/digits-mlp/train.sh", "#!/bin/sh\n", "#!/bin/sh\n# other\n")
    said = cli("plan", "--format", "json", code=2)
    made = [a for a in json.loads(said.out)["actions"] if a["action"] == "create"]
    assert "build" in {action["task"] for action in made}
    again = cli("plan", "--format", "json", code=2)
    assert json.loads(again.out)["head"] == json.loads(said.out)["head"]


def test_an_ignored_file_is_no_part_of_it(example: Example, cli: Cli) -> None:
    (example.root / ".git" / "info" / "exclude").write_text("models/draft.yaml\n")
    (example.root / "models" / "draft.yaml").write_text("kind: Model\n")
    cli("plan", code=0)


def test_without_an_upstream_the_base_is_head(example: Example, cli: Cli) -> None:
    example.git("branch", "--unset-upstream")
    said = cli("plan", code=0)
    assert "has no upstream, so the base is HEAD" in said.err
