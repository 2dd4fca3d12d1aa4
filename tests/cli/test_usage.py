"""Every command explains itself, and says what is wrong with how it was called."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reconciler.cli import COMMANDS
from tests.cli.conftest import Cli


def test_help_lists_every_command_with_what_it_does(cli: Cli) -> None:
    said = cli("--help", code=0)
    for name, summary in COMMANDS.items():
        assert f"{name}" in said.out
        assert summary in said.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_takes_a_configuration(cli: Cli, name: str) -> None:
    said = cli(name, "--help", code=0)
    assert said.out.startswith(f"Usage: reconciler {name} ")
    assert "--config" in said.out
    assert "\\b" not in said.out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_describes_commands_as_terms_and_not_by_pronouns(cli: Cli, name: str) -> None:
    said = cli(name, "--help", code=0)
    paragraphs = said.out.split("Options:")[0].split("\n\n")[1:]
    for paragraph in filter(None, map(str.strip, paragraphs)):
        assert not re.match(r"(They|These|Those|Of|What|Which)\b", paragraph), paragraph


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frob"], "No such command 'frob'.\n"),
        (["statsu"], "No such command 'statsu'. Did you mean status?\n"),
        (["log"], "No such command 'log'. Did you mean logs?\n"),
        (["plan", "--base"], "Option '--base' requires an argument"),
        (["plan", "--base", "a", "--head", "b", "--format", "yaml"], "'yaml' is not one of"),
        (["status", "-l", "team"], "expected LABEL=VALUE, found team"),
        (["status", "-l", "team!=vision"], "expected LABEL=VALUE, found team!=vision"),
        (["status", "-l", "team=vision,"], "expected LABEL=VALUE, found "),
        (["status", "-l", "team in (vision)"], "expected LABEL=VALUE, found team in (vision)"),
        (["schema", "job"], "'job' is not one of"),
        (["run", "--twice"], "No such option '--twice'"),
        (["init", "file"], "Directory 'file' is a file"),
        (["init", "file/demo"], "file/demo cannot be made: Not a directory"),
        (["validate", "nowhere"], "there is no file or folder nowhere"),
        (["run"], "reconciler.yaml: there is no such file"),
        (["run", "--config", "other.yaml"], "other.yaml: there is no such file"),
        (["status", "--config", "other.yaml"], "other.yaml: there is no such file"),
    ],
)
def test_bad_usage_ends_with_64(
    cli: Cli, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "file").touch()
    said = cli(*arguments, code=64)
    assert message in said.err
    assert said.out == ""


def test_a_wrong_configuration_ends_with_64_and_says_where(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "reconciler.yaml").write_text("repository: {url: .}\nserver:\n  adress: x\n")
    for name in ("run", "status", "validate"):
        said = cli(name, code=64)
        assert "reconciler.yaml:3:3: server.adress" in said.err
        assert "did you mean" in said.err
        assert "address" in said.err


@pytest.mark.parametrize(
    ("arguments", "other"),
    [
        (["status"], "name its configuration file with --config"),
        (["logs", "a"], "name its configuration file with --config"),
        (["artifacts"], "name its configuration file with --config"),
        (["why", "a"], "name one with --repo"),
        (["retry", "a"], "name one with --repo"),
        (["plan", "--base", "a", "--head", "b"], "name one with --repo"),
    ],
)
def test_outside_a_repository_every_command_says_what_to_do(
    cli: Cli, tmp_path: Path, arguments: list[str], other: str
) -> None:
    said = cli(*arguments, code=64)
    assert said.err == (
        f"error: {tmp_path} is not in a Git repository; call `reconciler {arguments[0]}` in a "
        f"clone of the manifest repository, or {other}. `reconciler init DIR` makes a new "
        "repository\n"
    )
    assert said.out == ""


def test_a_misspelt_variable_is_told_where_it_cannot_spoil_the_output(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECONCILER_REPOSITORY__URL", ".")
    monkeypatch.setenv("RECONCILER_GUARD_TASKS", "1")
    said = cli("render", "a")
    assert "RECONCILER_GUARD_TASKS sets nothing; did you mean RECONCILER_GUARD__TASKS?" in said.err
    assert "RECONCILER_GUARD" not in said.out
