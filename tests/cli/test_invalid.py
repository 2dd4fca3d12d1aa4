"""Questions about an object whose manifest was wrong from the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.example import Example

WRONG = """kind: Dataset
metadata: {name: wrong}
spec:
  source: {git: {url: ., path: sources/digits-mlp, brunch: main}}
"""
PROBLEM = (
    'models/wrong.yaml:4:52: spec.source.git.brunch: unknown field "brunch"; did you mean "branch"?'
)


@pytest.fixture
def example(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Example:
    example = Example(tmp_path / "clone")
    (example.root / "models/wrong.yaml").write_text(WRONG)
    example.commit("A wrong one")
    example.sync()
    monkeypatch.chdir(example.root)
    return example


def test_why_says_that_it_has_never_run_and_not_that_it_stays(example: Example, cli: Cli) -> None:
    assert cli("why", "wrong", code=0).out.splitlines() == [
        f"Dataset default/wrong is Invalid as of the last sync: {PROBLEM}",
        f"  Its manifest is wrong: {PROBLEM}",
        "    It has never run, and nothing runs for it until that is mended.",
    ]


def test_logs_and_retry_name_the_error_with_file_line_and_field(example: Example, cli: Cli) -> None:
    assert cli("logs", "wrong", code=1).err == (
        f"error: Dataset default/wrong has never run, so it has no log. It is Invalid: {PROBLEM}\n"
    )
    assert cli("retry", "wrong", code=1).err == (
        f"error: Dataset default/wrong is Invalid: {PROBLEM}\n"
        "It has never run. Mend its manifest and commit that; then what is missing runs, without a "
        "retry\n"
    )


def test_one_that_was_valid_before_stays_in_its_last_good_form(example: Example, cli: Cli) -> None:
    example.edit("models/base.yaml", "training:", "trainig:")
    example.commit("A typing error")
    example.sync()
    assert (
        "    Until that is mended, it stays in its last good form." in cli("why", "digits-base").out
    )
    said = cli("retry", "digits-base", code=1).err
    assert "Model default/digits-base is Invalid: models/base.yaml:" in said
    assert "never run" not in said
