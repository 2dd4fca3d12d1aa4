"""What programs read of ``artifacts`` and ``validate``, kept as files."""

from __future__ import annotations

import json
import os
from pathlib import Path

from reconciler.types import Kind, ObjectRef, TaskKind
from tests.cli.conftest import Cli
from tests.cli.example import Example
from tests.cli.images import REQUIREMENTS, image_record
from tests.golden_files import kept


def leave(root: Path, key: str, env: str) -> None:
    """An image and its environment, made long ago."""
    files = {
        f"images/{key}/image.json": json.dumps(image_record(key, env)),
        f"envs/{env}/lib/torch.so": "x" * 1000,
        f"envs/{env}.json": json.dumps(REQUIREMENTS),
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (0, 0))


def test_artifacts_images_and_environments_are_listed_as_they_are_kept(
    cli: Cli, tmp_path: Path
) -> None:
    example = Example(tmp_path / "clone")
    example.sync()
    example.edit("models/base.yaml", "epochs: 20", "epochs: 30")
    example.commit("Longer")
    example.sync(failing=("tilted-gentle",))
    record = example.records[ObjectRef(Kind.MODEL, "default", "digits-base")]
    (build,) = [task.key for task in record.tasks if task.task is TaskKind.BUILD]
    leave(tmp_path / "state", str(build), "used")
    leave(tmp_path / "state", "f" * 40, "spare")
    (tmp_path / "reconciler.yaml").write_text(
        json.dumps({"repository": {"url": str(example.root)}})
    )
    said = cli("artifacts", "--format", "json", "--config", "reconciler.yaml", code=0)
    text = said.out.replace(str(tmp_path), "")
    assert text == kept("artifacts.json", text)


def test_errors_are_listed_as_they_are_kept(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: Model\n  metadata: {}\n")
    (tmp_path / "b.yaml").write_text(
        "kind: Dataset\nmetadata: {name: Größe}\nspec: {source: {bucket: {url: s3://d/s}}}\n"
        "---\nkind: Model\nmetadata: {name: m}\nspec:\n"
        "  source: {git: {url: https://example.com/m}}\n  trainin: {dataset: {name: squad}}\n"
    )
    said = cli("validate", "--format", "json", code=2)
    assert said.out == kept("validate.json", said.out)


def test_no_errors_are_a_list_as_well(cli: Cli) -> None:
    assert json.loads(cli("validate", "--format", "json", code=0).out) == {"errors": []}
