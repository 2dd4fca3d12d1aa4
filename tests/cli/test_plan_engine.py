"""What a plan knows of the engine that will carry it out."""

from __future__ import annotations

from pathlib import Path

import pygit2
import pytest

from tests.cli.conftest import Cli

IMAGE = "registry/team/server@sha256:" + "a" * 64
MODEL = f"kind: Model\nmetadata: {{name: a}}\nspec: {{source: {{image: {{ref: '{IMAGE}'}}}}}}\n"


@pytest.mark.parametrize(
    ("engine", "code", "action"), [("local", 0, "wait"), ("kubernetes", 2, "create")]
)
def test_an_image_by_name_is_planned_where_containers_run(
    cli: Cli, tmp_path: Path, engine: str, code: int, action: str
) -> None:
    repository = pygit2.init_repository(tmp_path)
    (tmp_path / "a.yaml").write_text(MODEL)
    (tmp_path / "reconciler.yaml").write_text(
        f"repository: {{url: .}}\nengine: {engine}\nregistry: {{url: registry/team}}\n"
        "buckets: {default: {url: 'gs://team/x'}}\n"
    )
    repository.index.add("a.yaml")
    author = pygit2.Signature("Test", "test@localhost")
    tree = repository.index.write_tree()
    repository.create_commit("HEAD", author, author, "First", tree, [])
    said = cli("plan", "--base", "HEAD", "--head", "HEAD", "--format", "json")
    assert (said.code, f'"action": "{action}"' in said.out) == (code, True), said.out + said.err
