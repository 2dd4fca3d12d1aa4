"""What a reviewer and a program read of changes of the examples, kept as files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.types import JSON
from tests.cli.conftest import Cli
from tests.cli.example import Example
from tests.golden_files import kept


def one_param(example: Example) -> None:
    example.edit("models/finetune.yaml", "epochs: 5,", "epochs: 20,")


def the_base(example: Example) -> None:
    example.edit("models/base.yaml", "epochs: 20, hidden: 48", "epochs: 30, hidden: 64")


def a_broken_manifest(example: Example) -> None:
    example.edit("models/base.yaml", "{epochs: 20,", "{epochs: 20: ")
    example.edit("models/finetune.yaml", "retries: 1", "retires: 1")


def a_dataset_in_use(example: Example) -> None:
    file = example.root / "datasets" / "digits.yaml"
    file.write_text(file.read_text().partition("---\n")[2])


def the_source(example: Example) -> None:
    example.edit("sources/digits-mlp/train.py", '"""', '"""Anew. ')


def revert(example: Example) -> None:
    example.git("revert", "--no-edit", "--no-commit", "HEAD")


def running_and_how(example: Example) -> None:
    """One that is being trained, one whose failure is remembered, a promotion, a new one."""
    example.edit("models/finetune.yaml", "epochs: 15, learning_rate: 0.1", "epochs: 30")
    example.edit("models/finetune.yaml", "resources: {cpu: 1}\n---", "retries: 2\n---")
    example.edit("models/production.yaml", "tilted-full", "tilted-cold")
    example.edit("models/from-image.yaml", "  suspend: true ", "  suspend: false")
    new = (example.root / "models" / "base.yaml").read_text().replace("digits-base", "digits-next")
    (example.root / "models" / "next.yaml").write_text(new)


def above_the_guard(example: Example) -> None:
    the_base(example)
    configure(example, guard={"tasks": 2})


def configure(example: Example, **sections: JSON) -> None:
    config = {"repository": {"url": str(example.root)}, **sections}
    (example.root.parent / "reconciler.yaml").write_text(json.dumps(config))


PRICES: JSON = {"currency": "EUR", "gpus": {"nvidia-l4": 0.81, "any": 0.5}, "cpu": 0.03}


def priced(example: Example) -> None:
    """Runs on GPUs with prices, at most two at once; of one image there is no history."""
    the_base(example)
    example.edit("models/base.yaml", "{cpu: 1}", "{cpu: 2, gpu: {type: nvidia-l4, count: 2}}")
    shutil.copytree(example.root / "sources" / "digits-mlp", example.root / "sources" / "other")
    example.edit("sources/other/train.py", '"""', '"""Another. ')
    new = (example.root / "models" / "base.yaml").read_text().replace("digits-base", "digits-other")
    (example.root / "models" / "other.yaml").write_text(new.replace("digits-mlp", "other"))
    configure(example, prices=PRICES, limits={"runs": 2})


def running_and_held(example: Example) -> None:
    """One that is being trained for longer than a change may cancel."""
    example.edit("models/finetune.yaml", "epochs: 15, learning_rate: 0.1", "epochs: 30")
    configure(example, prices=PRICES, guard={"running": {"time": "1h"}})


def released(example: Example) -> None:
    above_the_guard(example)
    line = "96c2a4c48f73  # a larger base, as agreed\n"
    (example.root / ".reconciler").mkdir()
    (example.root / ".reconciler" / "release").write_text(line)


def a_sweep(example: Example) -> None:
    example.edit("models/sweep.yaml", "[8, 16, 32, 64]", "[16, 32, 64, 128, 256]")


CHANGES: Mapping[str, Callable[[Example], None]] = {
    "param": one_param,
    "base": the_base,
    "broken": a_broken_manifest,
    "dataset-deleted": a_dataset_in_use,
    "source": the_source,
    "revert": revert,
    "running": running_and_how,
    "held": above_the_guard,
    "released": released,
    "sweep": a_sweep,
    "priced": priced,
    "running-held": running_and_held,
}


@pytest.fixture
def example(tmp_path: Path) -> Example:
    return Example(tmp_path / "repository")


@pytest.mark.parametrize(
    ("style", "suffix"), [("text", "txt"), ("markdown", "md"), ("json", "json")]
)
@pytest.mark.parametrize("name", CHANGES)
def test_a_plan_reads_as_it_is_kept(
    example: Example, cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str, style: str, suffix: str
) -> None:
    if name.startswith("running"):
        example.sync(running=("tilted-full",), failing=("tilted-gentle",))
    else:
        example.sync()
    if name == "revert":
        the_base(example)
        example.commit("A larger base")
        example.sync()
    CHANGES[name](example)
    example.commit("Change")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    now = example.now + timedelta(hours=2)
    monkeypatch.setattr("reconciler.cli.clone_planning.clock", lambda: now)
    # It is called beside the repository, where one of the changes puts a configuration.
    said = cli(
        "plan", "--base", "HEAD~1", "--head", "HEAD", "--repo", str(example.root), "--format", style
    )
    assert said.out == kept(f"plan/{name}.{suffix}", said.out)
