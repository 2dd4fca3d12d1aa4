"""Files that are no manifests: they neither are errors, nor keep removed objects."""

from __future__ import annotations

import json
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


def change(example: Example, **files: bytes | None) -> None:
    """Commit files of ``models/``; None removes one."""
    for name, data in files.items():
        file = example.root / "models" / name.replace("_", ".")
        if data is None:
            file.unlink()
        else:
            file.write_bytes(data)
    example.commit("A change")


def plan(cli: Cli, style: str = "text") -> tuple[int, str]:
    said = cli("plan", "--base", "HEAD~1", "--head", "HEAD", "--format", style)
    return said.code, said.out


def test_what_cannot_be_a_manifest_is_no_error_and_keeps_nothing(
    example: Example, cli: Cli
) -> None:
    vocabulary = json.dumps({"vocab": {f"token{n}": n for n in range(80_000)}})
    change(
        example,
        production_yaml=None,
        tokenizer_json=vocabulary.encode(),
        log_json=b'{"step": 1}\n{"step": 2}\n',
        chart_yaml=b"{{- if .Values.on }}\nkind: Service\n{{- end }}\n",
        latin_yaml=b"name: caf\xe9\n",
    )
    assert cli("validate").code == 0
    code, told = plan(cli)
    assert code == 2
    assert "is removed: its manifest is gone" in told


@pytest.mark.parametrize("style", ["text", "markdown"])
def test_a_plan_says_that_a_removal_is_withheld_and_why(
    example: Example, cli: Cli, style: str
) -> None:
    change(example, production_yaml=None, new_yaml=b"kind: Model\n{{ end }}\n")
    code, told = plan(cli, style)
    assert code == 1
    assert "1 object stays that would go" in told
    assert "nothing is removed while a manifest cannot be read: models/new.yaml:3:1" in told
    assert told.count("default/digits-production") == 1


def test_a_file_that_held_an_object_still_does_whatever_is_in_it_now(
    example: Example, cli: Cli
) -> None:
    change(example, production_yaml=b"\x00\xff\xfe")
    code, told = plan(cli)
    assert code == 1
    assert "models/production.yaml:1:1: error: the file is not UTF-8 text" in told
    assert "1 object stays as it is until that is mended" in told
    assert "removed" not in told


def test_validate_knows_what_was_a_manifest_at_head(example: Example, cli: Cli) -> None:
    (example.root / "models" / "production.yaml").write_bytes(b"\x00\xff\xfe")
    said = cli("validate")
    assert said.code == 2
    assert said.out.startswith("models/production.yaml:1:1: error: the file is not UTF-8 text")
