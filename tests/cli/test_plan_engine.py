"""What a plan knows of the engine that will carry it out."""

from __future__ import annotations

from pathlib import Path

import pygit2
import pytest

from tests.cli.conftest import Cli
from tests.planner.world import scratch

IMAGE = "registry/team/server@sha256:" + "a" * 64
MODEL = f"kind: Model\nmetadata: {{name: a}}\nspec: {{source: {{image: {{ref: '{IMAGE}'}}}}}}\n"


@pytest.mark.parametrize(
    ("engine", "code", "action"),
    [
        ("engine: local", 0, "wait"),
        ("local: {runtime: podman}", 2, "create"),
        ("engine: kubernetes", 2, "create"),
    ],
)
def test_an_image_by_name_is_planned_where_containers_run(
    cli: Cli, tmp_path: Path, engine: str, code: int, action: str
) -> None:
    (tmp_path / "reconciler.yaml").write_text(
        f"repository: {{url: .}}\n{engine}\nregistry: {{url: registry/team}}\n"
        "buckets: {default: {url: 'gs://team/x'}}\n"
    )
    commit(tmp_path, **{"a.yaml": MODEL})
    said = cli("plan", "--base", "HEAD", "--head", "HEAD", "--format", "json")
    assert (said.code, f'"action": "{action}"' in said.out) == (code, True), said.out + said.err


GPU = scratch("big", ", resources: {gpu: {count: 2}}")


@pytest.mark.parametrize(
    ("config", "visible", "told"),
    [
        ("repository: {url: .}\n", "-1", "2, and this machine has 0"),
        ("repository: {url: .}\n", "0", "2, and this machine has 1"),
        ("repository: {url: .}\n", "0,1", None),
        # Of a daemon that may be on another machine nothing is known.
        ("repository: {url: 'https://git.example.com/team/models'}\n", "-1", None),
    ],
)
def test_gpus_that_this_machine_lacks_are_waited_for_where_the_daemon_is_on_it(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: str,
    visible: str,
    told: str | None,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    (tmp_path / "reconciler.yaml").write_text(config)
    commit(tmp_path, **{"a.yaml": scratch("a"), "src/a/train.sh": "", "src/big/train.sh": ""})
    commit(tmp_path, **{"big.yaml": GPU})
    said = cli("plan", "--base", "HEAD~1", "--head", "HEAD", code=2)
    if told is None:
        assert "  + train runs for the first time, after its build (2 GPUs)" in said.out
    else:
        assert f"  … train waits for GPUs: it needs {told}" in said.out


def commit(folder: Path, **files: str) -> None:
    """Commit files on the checked out branch of a folder's repository."""
    repository = pygit2.init_repository(folder)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        repository.index.add(name)
    author = pygit2.Signature("Test", "test@localhost")
    parents = [] if repository.head_is_unborn else [repository.head.target]
    tree = repository.index.write_tree()
    repository.create_commit("HEAD", author, author, "A commit", tree, parents)
    repository.index.write()
