"""Errors as annotations of a pull request's diff, where a runner of GitHub Actions reads them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.example import Example

WRONG = "kind: Model\nmetadata: {name: m}\nspec: {suspended: 1, source: {git: {url: ../x}}}\n"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    return tmp_path


def test_validate_annotates_the_line_and_column(cli: Cli, workspace: Path) -> None:
    (workspace / "m.yaml").write_text(WRONG)
    said = cli("validate", code=2)
    assert said.out.splitlines()[-1] == (
        '::error file=m.yaml,line=3,col=8::spec.suspended: unknown field "suspended"; '
        'did you mean "suspend"?'
    )
    assert "m.yaml:3:8: error: " in said.out, "people read the log as well"


def test_names_and_messages_cannot_end_a_property_or_the_line(cli: Cli, workspace: Path) -> None:
    name = "a,b:c%.yaml"
    (workspace / name).write_text(WRONG.replace("suspended", '"x%\\n::add-mask::y"'))
    command = cli("validate").out.splitlines()[-1]
    assert command.startswith("::error file=a%2Cb%3Ac%25.yaml,line=3,col=8::")
    assert "x%25" in command
    assert "%0A::add-mask::" in command


def test_commands_are_off_while_text_of_the_pull_request_is_printed(
    cli: Cli, workspace: Path
) -> None:
    (workspace / "::add-mask::e.yaml").write_text(WRONG)
    first, *between, _ = cli("validate").out.splitlines()
    token = re.fullmatch(r"::stop-commands::([0-9a-f]{32})", first)
    assert token is not None
    assert f"::{token[1]}::" in between
    assert any(line.startswith("::add-mask::e.yaml") for line in between)
    assert between.index(f"::{token[1]}::") == len(between) - 1


def test_json_and_a_run_elsewhere_are_left_alone(
    cli: Cli, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / "m.yaml").write_text(WRONG)
    assert cli("validate", "--format", "json").out.startswith("{")
    monkeypatch.delenv("GITHUB_ACTIONS")
    assert "::" not in cli("validate").out


def test_a_plan_annotates_files_as_the_repository_has_them(cli: Cli, workspace: Path) -> None:
    example = Example(workspace / "clone")
    example.edit("models/finetune.yaml", "retries: 1", "retires: 1")
    example.commit("Wrong")
    said = cli("plan", "--base", "HEAD~1", "--head", "HEAD", "--repo", "clone", code=1)
    assert "::error file=clone/models/finetune.yaml,line=41,col=5::spec.training" in said.out
