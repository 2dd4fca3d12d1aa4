"""``get``: an artifact comes whole and as it was made, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from obstore.store import LocalStore

from reconciler import stores
from reconciler.engines.local.marker import make_durable, write_marker
from reconciler.types import Kind, ObjectRef
from tests.cli.conftest import Cli
from tests.cli.example import Example

BASE = ObjectRef(Kind.MODEL, "default", "digits-base")


def make(folder: Path, key: str) -> None:
    """The files of an artifact, with their marker."""
    (folder / "deep dir").mkdir(parents=True)
    (folder / "weights").write_text("weights\n")
    (folder / "deep dir" / "ü").write_text("x\n")
    (folder / "logs").mkdir()
    (folder / "logs" / "attempt-1.log").write_text("not of the artifact")
    now = datetime(2026, 1, 1, tzinfo=UTC)
    write_marker(
        folder, key=key, lineage={}, metrics={}, started=now, finished=now,
        gpu_seconds=0, attempt=1, digests=make_durable(folder),
    )  # fmt: skip


@pytest.fixture
def example(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Example:
    example = Example(tmp_path / "clone", bucket=(tmp_path / "bucket").as_uri())
    example.sync()
    monkeypatch.chdir(example.root)
    folder, key = artifact(example)
    make(folder, key)
    return example


def artifact(example: Example) -> tuple[Path, str]:
    known = example.records[BASE].artifact
    assert known is not None
    return Path(urlsplit(known.url).path), known.key


def files(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): file.read_text()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_an_artifact_is_copied_with_its_marker(example: Example, cli: Cli, tmp_path: Path) -> None:
    folder, key = artifact(example)
    said = cli("get", "digits-base", str(tmp_path / "out"), code=0)
    assert f"artifact {key[:12]}: 2 files, 10 B in {tmp_path}/out" in said.out
    marker = (folder / "completed.json").read_text()
    wanted = {"weights": "weights\n", "deep dir/ü": "x\n", "completed.json": marker}
    assert files(tmp_path / "out") == wanted
    (tmp_path / "empty").mkdir()
    cli("get", "digits-base", key[:8], str(tmp_path / "empty"), code=0)
    assert files(tmp_path / "empty") == wanted


def flip(folder: Path) -> None:
    (folder / "weights").write_text("weightz\n")


def cut(folder: Path) -> None:
    (folder / "weights").write_text("w")


def grow(folder: Path) -> None:
    (folder / "weights").write_text("weights\nand more")


def remove(folder: Path) -> None:
    (folder / "weights").unlink()


def lead_out(folder: Path) -> None:
    (folder / "weights").unlink()
    (folder.parent / "weights").write_text("weights\n")
    (folder / "weights").symlink_to(folder.parent / "weights")


def lose(folder: Path) -> None:
    (folder / "completed.json").unlink()


def climb(folder: Path) -> None:
    file = folder / "completed.json"
    marker = json.loads(file.read_text())
    marker["files"][0]["path"] = "../stolen"
    (folder.parent / "stolen").write_text("x\n")
    file.write_text(json.dumps(marker))


@pytest.mark.parametrize("damage", [flip, cut, grow, remove, lead_out, lose, climb])
def test_what_is_not_as_it_was_made_leaves_no_folder(
    example: Example, cli: Cli, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    folder, _ = artifact(example)
    damage(folder)
    (tmp_path / "outer").mkdir()
    said = cli("get", "digits-base", str(tmp_path / "outer" / "out"), code=1)
    assert said.err.startswith("error: ")
    assert list((tmp_path / "outer").iterdir()) == []


def test_a_folder_with_anything_in_it_is_left_alone(
    example: Example, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    assert "not empty" in cli("get", "digits-base", str(tmp_path / "mine"), code=64).err
    assert files(tmp_path / "mine") == {"file": "mine"}
    assert "there is no folder" in cli("get", "digits-base", str(tmp_path / "a/b"), code=64).err
    assert "expected NAME [KEY] DIR" in cli("get", "digits-base", "a", "b", "c", code=64).err


def test_an_artifact_comes_from_a_store_as_well(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = Example(tmp_path / "clone", bucket="s3://bucket")
    example.sync()
    monkeypatch.chdir(example.root)
    disk = LocalStore(tmp_path / "bucket", mkdir=True)
    monkeypatch.setattr(stores, "_open", lambda url: (disk, unquote(urlsplit(url).path).strip("/")))
    folder, key = artifact(example)
    make(tmp_path / "bucket" / str(folder).strip("/"), key)
    cli("get", "digits-base", str(tmp_path / "out"), code=0)
    assert files(tmp_path / "out")["weights"] == "weights\n"
