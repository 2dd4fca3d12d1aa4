"""The history of a promotion: what production served, since when, by whose commit."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.status.encoding import dump_record, load_record
from reconciler.types import Kind, ObjectRef
from tests.cli.conftest import Cli
from tests.cli.example import Example

PRODUCTION = ObjectRef(Kind.MODEL, "default", "prod")


def test_a_promotion_lists_what_it_served_and_by_whose_commit(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = Example(tmp_path / "clone")
    (example.root / "prod.yaml").write_text(
        "kind: Model\nmetadata: {name: prod}\n"
        "spec: {source: {model: {name: digits-base}}, load: {command: []}}\n"
    )
    example.commit("Promote the base")
    example.sync()
    example.edit("models/base.yaml", "epochs: 20", "epochs: 30")
    example.commit("Train longer")
    example.sync()
    old, new = (served.key[:12] for served in example.records[PRODUCTION].served)
    monkeypatch.chdir(example.root)
    said = cli("status", "--history", "prod", code=0).out.splitlines()
    assert said[0].startswith("PROMOTION"), "it has run nothing, so no table of runs is there"
    first, second = said[2:]
    assert new in first
    assert "now" in first
    assert "Ada: Train longer" in first
    assert old in second
    assert "now" not in second
    record = example.records[PRODUCTION]
    assert load_record("prod.yaml", dump_record(record)).served == record.served


def test_a_pinned_promotion_serves_by_its_own_commit(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = Example(tmp_path / "clone")
    example.sync()
    base = example.records[ObjectRef(Kind.MODEL, "default", "digits-base")].artifact
    assert base is not None
    (example.root / "prod.yaml").write_text(
        "kind: Model\nmetadata: {name: prod}\nspec:\n"
        f"  source: {{model: {{name: digits-base, key: {base.key}}}}}\n  load: {{command: []}}\n"
    )
    example.commit("Pin production")
    example.sync()
    monkeypatch.chdir(example.root)
    assert "Ada: Pin production" in cli("status", "--history", "prod", code=0).out
