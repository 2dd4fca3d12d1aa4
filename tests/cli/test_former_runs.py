"""Objects before their first sync, on hold and removed, and the logs of former runs."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from obstore.store import LocalStore

from reconciler import stores
from reconciler.planner import PlannerConfig
from reconciler.types import Kind, ObjectRef, TaskKind
from tests.cli.conftest import Cli
from tests.cli.example import Example

BASE = ObjectRef(Kind.MODEL, "default", "digits-base")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def config_of(example: Example) -> str:
    file = example.root.parent / "reconciler.yaml"
    file.write_text(json.dumps({"repository": {"url": str(example.root)}}))
    return str(file)


def trained(example: Example) -> str:
    """The key of the base's present training, as tables show it."""
    tasks = example.records[BASE].tasks
    return next(task.key for task in tasks if task.task is TaskKind.TRAIN and task.key)[:12]


def test_before_the_first_sync_a_name_is_told_what_to_do(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = Example(tmp_path / "clone")
    monkeypatch.chdir(example.root)
    for command in ("status", "logs", "artifacts", "verify"):
        said = cli(command, "digits-base", code=1)
        assert "error: nothing was synced yet, or its status was not fetched" in said.err
        assert "`reconciler run --once` syncs" in said.err


def test_the_history_of_a_removed_object_is_found_by_its_name_or_key(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = Example(tmp_path / "clone", bucket=(tmp_path / "bucket").as_uri())
    example.sync()
    (example.root / "models/load.yaml").unlink()
    example.commit("Without it")
    example.sync()
    ref = ObjectRef(Kind.MODEL, "default", "tilted-cold")
    (made,) = [e for e in example.removed[ref].history if e.task is TaskKind.TRAIN]
    assert made.artifact is not None
    monkeypatch.chdir(example.root)
    for name in ("tilted-cold", made.key[:12]):
        assert made.key[:12] in cli("status", "--history", name, code=0).out
        said = cli("status", name, code=1)
        assert "Model default/tilted-cold was removed" in said.err
        assert "`reconciler status --history tilted-cold`" in said.err
    write(Path(urlsplit(made.artifact).path) / "logs/attempt-1.log", "epoch 9\n")
    assert cli("logs", made.key[:12], code=0).out == "epoch 9\n"


def test_logs_of_a_key_that_is_history_are_listed_in_a_store(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = Example(tmp_path / "clone", bucket="s3://bucket")
    example.sync()
    key = trained(example)
    example.edit("models/base.yaml", "epochs: 20", "epochs: 30")
    example.commit("Longer")
    example.sync()
    disk = LocalStore(tmp_path / "bucket", mkdir=True)
    monkeypatch.setattr(stores, "_open", lambda url: (disk, urlsplit(url).path.strip("/")))
    config = config_of(example)
    assert "left no log in s3://bucket/" in cli("logs", key, "--config", config, code=1).err
    record = example.records[BASE]
    (made,) = [entry for entry in record.history if entry.key.startswith(key)]
    assert made.artifact is not None
    folder = tmp_path / "bucket" / urlsplit(made.artifact).path.strip("/") / "logs"
    for attempt in (2, 10):
        write(folder / f"attempt-{attempt}.log", f"attempt {attempt}\n")
    said = cli("logs", key, "--config", config, code=0)
    assert said.out == "attempt 10\n"


def test_logs_of_a_failure_that_is_history_are_beside_where_its_artifact_would_be(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = Example(tmp_path / "clone", bucket=(tmp_path / "state/buckets/default").as_uri())
    example.sync(failing=("digits-base",))
    key = trained(example)
    log = next(t.log for t in example.records[BASE].tasks if t.log and key in t.log)
    write(Path(urlsplit(log).path), "out of memory\n")
    example.edit("models/base.yaml", "epochs: 20", "epochs: 30")
    example.commit("Longer")
    example.sync()
    assert cli("logs", key, "--config", config_of(example), code=0).out == "out of memory\n"
    monkeypatch.chdir(example.root)
    said = cli("logs", key, code=1)
    assert "left no artifact, so only a configuration says where its log is" in said.err


def test_logs_of_a_build_that_is_history_are_not_kept(cli: Cli, tmp_path: Path) -> None:
    example = Example(tmp_path / "clone")
    example.sync()
    (build,) = [t.key for t in example.records[BASE].tasks if t.task is TaskKind.BUILD and t.key]
    example.edit("sources/digits-mlp/train.sh", "#!/bin/sh\n", "#!/bin/sh\n# other\n")
    example.commit("Another source")
    example.sync()
    said = cli("logs", build[:12], "--config", config_of(example), code=1)
    assert "the log of a build is kept only while an object needs it" in said.err


def test_why_and_a_plan_say_what_holds(cli: Cli, tmp_path: Path) -> None:
    settings = PlannerConfig(guard_tasks=2)
    example = Example(tmp_path / "clone", settings=settings)
    example.sync()
    example.edit("models/base.yaml", "epochs: 20", "epochs: 30")
    example.commit("Longer")
    example.sync()
    (tmp_path / "reconciler.yaml").write_text(
        json.dumps({"repository": {"url": str(example.root)}, "guard": {"tasks": 2}})
    )
    held = example.records[BASE].hold
    assert held is not None
    config = ("--config", str(tmp_path / "reconciler.yaml"))
    needs = f"needs the line {held} in .reconciler/release"
    lines = cli("why", "digits-base", *config, code=0).out.splitlines()
    assert lines[0].startswith(f"Model default/digits-base is Held as of the last sync: {needs}")
    assert lines[1:5] == [
        "  build: complete",
        "  train: held",
        (
            "    would make 5 tasks with 0 GPUs, of 4 objects, 4 of which have an artifact "
            "(guard: 2 tasks made again, 32 GPUs)."
        ),
        f"    To release it, add the line {held} to .reconciler/release, and commit that.",
    ]
    repo = ("--repo", str(example.root))
    plan = cli("plan", "--base", "HEAD", "--head", "HEAD", "--all", *repo, *config).out
    assert f"  Model default/digits-base is Held: {needs}" in plan
    assert "  Model default/from-image is Suspended: spec.suspend is true" in plan
    assert "  Model default/digits-production is Ready: still serves " in plan


def test_why_of_a_removed_object_names_the_commit_the_history_and_the_way_back(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = Example(tmp_path / "clone")
    example.sync()
    finetunes = example.root / "models/finetune.yaml"
    first, *others = finetunes.read_text().split("---\n")
    finetunes.write_text("---\n".join(others))
    removal = example.commit("Without the first one")
    finetunes.write_text(finetunes.read_text() + "# and a line\n")
    (example.root / "models/load.yaml").unlink()
    later = example.commit("Without the cold one")
    example.sync()
    monkeypatch.chdir(example.root)
    for file, commit, name in (
        ("models/finetune.yaml", removal, "tilted-gentle"),
        ("models/load.yaml", later, "tilted-cold"),
    ):
        by = f"by commit {commit[:12]} of 2026-03-02 08:00 UTC"
        again = "Committed again, it runs only what is not complete."
        assert cli("why", name, code=0).out.splitlines() == [
            f"Model default/{name} was removed from {file} {by}",
            f"  Its artifacts stay; `reconciler status --history {name}` lists its runs.",
            f"  `git show {commit[:12]}^:{file}` prints its manifest. {again}",
        ]
        assert example.git("show", f"{commit[:12]}^:{file}").find(name) > 0
        said = cli("retry", name, code=1)
        assert f"Model default/{name} was removed; `reconciler status --history {name}`" in said.err
    assert f"name: {name}" not in first

    example.git(
        "clone",
        "--quiet",
        "--depth=1",
        "--no-single-branch",
        f"file://{example.root}",
        str(tmp_path / "shallow"),
    )
    monkeypatch.chdir(tmp_path / "shallow")
    assert cli("why", "tilted-cold", code=0).out.splitlines()[0] == (
        "Model default/tilted-cold was removed from models/load.yaml; by which commit is not known "
        "here"
    )


def test_why_of_a_removal_that_is_held_says_what_releases_it(cli: Cli, tmp_path: Path) -> None:
    example = Example(tmp_path / "clone")
    example.sync()
    for folder in ("models", "datasets"):
        shutil.rmtree(example.root / folder)
    example.commit("Nothing left")
    said = cli("why", "digits-base", "--config", config_of(example), code=0)
    lines = said.out.splitlines()
    assert lines[1].startswith("  The next sync makes it Held")
    assert lines[2] == "  Its manifest is gone, and its removal is held"
    assert lines[3].startswith("    the tree holds no manifests at all")
    assert re.match("    To release it, add the line [0-9a-f]{12} to .reconciler/release", lines[4])
