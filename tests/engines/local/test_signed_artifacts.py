"""Signed artifacts: what model-signing and a consumer's check find of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.engines.local.marker import MARKER, make_durable, write_marker
from reconciler.engines.local.scrub import is_as_made
from reconciler.engines.local.verification import (
    FaultKind,
    Verification,
    find_external_faults,
    find_faults,
    finish,
)
from reconciler.signing import SIGNATURE, SigningFiles, SigningKey, TrustedKeys
from tests.signing_keys import KeyFiles, make_keys, sign_with_tool, verify_with_tool
from tests.signing_vectors import Vector, read_vectors

KEY, OTHER = "0123456789" * 4, "f" * 40


@pytest.fixture
def keys(tmp_path: Path) -> KeyFiles:
    return make_keys(tmp_path)


@pytest.fixture
def artifact(tmp_path: Path, keys: KeyFiles) -> Path:
    return make(tmp_path / KEY, KEY, keys)


def make(folder: Path, key: str, keys: KeyFiles | None, *, digests: bool = True) -> Path:
    """A complete artifact, signed with these keys, with files of each reserved kind."""
    for name in ("a", "deep/b", "c", ".gitattributes", "logs/attempt-1.log", ".reconciler-x"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name} of {key}")
    now = datetime.now(UTC)
    write_marker(
        folder, key=key, lineage={"name": "m"}, metrics={}, started=now, finished=now,
        gpu_seconds=0, attempt=1, digests=make_durable(folder) if digests else None,
        signing_key=SigningKey.load(keys.private) if keys else None,
    )  # fmt: skip
    return folder


def faults_of(steps: Verification) -> list[tuple[str, FaultKind]]:
    return [(fault.path, fault.kind) for fault in finish(steps)[1]]


def check(folder: Path, keys: KeyFiles, key: str = KEY) -> list[tuple[str, FaultKind]]:
    return faults_of(find_faults(folder, key, keys=TrustedKeys.load([keys.public])))


def test_a_signed_artifact_is_valid_here_and_for_model_signing(
    artifact: Path, keys: KeyFiles
) -> None:
    assert check(artifact, keys) == []
    verify_with_tool(artifact, keys)


def test_what_an_attempt_logs_later_leaves_the_signature_valid(
    artifact: Path, keys: KeyFiles
) -> None:
    (artifact / "logs" / "attempt-2.log").write_text("the artifact is complete")
    assert check(artifact, keys) == []
    verify_with_tool(artifact, keys)


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda d: (d / "a").write_text("A of " + KEY), ("a", FaultKind.CONTENT)),
        (lambda d: (d / "deep/b").unlink(), ("deep/b", FaultKind.MISSING)),
        (lambda d: (d / "new").touch(), ("new", FaultKind.UNLISTED)),
        (lambda d: replace(d / MARKER, '"attempt": 1', '"attempt": 2'), None),
        (lambda d: replace(d / MARKER, '"path": "a"', '"path": "e"'), None),
        (lambda d: (d / SIGNATURE).unlink(), None),
        (lambda d: (d / SIGNATURE).write_text("{}"), None),
    ],
)
def test_each_change_is_found_here_and_by_model_signing(
    artifact: Path,
    keys: KeyFiles,
    damage: Callable[[Path], object],
    fault: tuple[str, FaultKind] | None,
) -> None:
    damage(artifact)
    assert check(artifact, keys) == [fault or (SIGNATURE, FaultKind.SIGNATURE)]
    with pytest.raises((ValueError, KeyError, OSError)):
        verify_with_tool(artifact, keys)


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_a_file_that_the_signature_leaves_out_is_held_by_the_marker(
    artifact: Path, keys: KeyFiles
) -> None:
    (artifact / ".gitattributes").write_text("G" * len(f".gitattributes of {KEY}"))
    assert check(artifact, keys) == [(".gitattributes", FaultKind.CONTENT)]


def test_a_signature_of_another_key_is_refused(
    tmp_path: Path, artifact: Path, keys: KeyFiles
) -> None:
    other = make_keys(tmp_path, "other")
    assert check(artifact, other) == [(SIGNATURE, FaultKind.SIGNATURE)]
    with pytest.raises(ValueError, match="mismatch"):
        verify_with_tool(artifact, other)


def test_the_signed_files_of_another_key_are_refused(tmp_path: Path, keys: KeyFiles) -> None:
    """Whoever writes the bucket puts one signed artifact in the place of another."""
    folder = make(tmp_path / OTHER, OTHER, keys)
    assert check(folder, keys) == [(MARKER, FaultKind.INVALID)]
    replace(folder / MARKER, OTHER, KEY)
    assert check(folder, keys) == [(SIGNATURE, FaultKind.SIGNATURE)]


def test_a_link_is_signed_as_the_file_that_it_leads_to(tmp_path: Path, keys: KeyFiles) -> None:
    folder = tmp_path / KEY
    folder.mkdir()
    (folder / "link").symlink_to("c")
    make(folder, KEY, keys)
    assert check(folder, keys) == []
    (folder / "c").write_text(f"C of {KEY}")
    assert check(folder, keys) == [("c", FaultKind.CONTENT), ("link", FaultKind.CONTENT)]


def test_an_artifact_that_model_signing_signed_is_valid(tmp_path: Path, keys: KeyFiles) -> None:
    """The way to sign what was made before there was a key, with or without digests."""
    folder = make(tmp_path / KEY, KEY, None, digests=False)
    sign_with_tool(folder, keys)
    # Of .gitattributes neither the marker nor the signature has a digest.
    assert check(folder, keys) == [(SIGNATURE, FaultKind.SIGNATURE)]
    (folder / ".gitattributes").unlink()
    make(folder, KEY, None, digests=False)
    (folder / ".gitattributes").unlink()
    text = json.loads((folder / MARKER).read_text())
    text["files"] = [file for file in text["files"] if file["path"] != ".gitattributes"]
    (folder / MARKER).write_text(json.dumps(text))
    sign_with_tool(folder, keys)
    assert check(folder, keys) == []
    (folder / "a").write_text(f"A of {KEY}")
    assert check(folder, keys) == [("a", FaultKind.CONTENT)]


@pytest.fixture
def data(tmp_path: Path, keys: KeyFiles) -> Path:
    """A folder of data that no task made, signed by those who publish it."""
    folder = tmp_path / "data"
    for name in ("rows", "logs/rows", ".git/config"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    sign_with_tool(folder, keys)
    return folder


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda d: None, None),
        (lambda d: (d / ".git/config").write_text("left out"), None),
        (lambda d: (d / "rows").write_text("ROWS"), ("rows", FaultKind.CONTENT)),
        (lambda d: (d / "rows").unlink(), ("rows", FaultKind.MISSING)),
        (lambda d: (d / "new").touch(), ("new", FaultKind.UNLISTED)),
        (lambda d: (d / "logs/new").touch(), ("logs/new", FaultKind.UNLISTED)),
        (lambda d: (d / MARKER).touch(), (MARKER, FaultKind.UNLISTED)),
        (lambda d: (d / SIGNATURE).unlink(), (SIGNATURE, FaultKind.SIGNATURE)),
    ],
)
def test_of_a_folder_that_no_task_made_the_signature_has_all_files(
    data: Path,
    keys: KeyFiles,
    damage: Callable[[Path], object],
    fault: tuple[str, FaultKind] | None,
) -> None:
    damage(data)
    found = faults_of(find_external_faults(data, TrustedKeys.load([keys.public])))
    assert found == ([fault] if fault else [])


async def test_a_scrub_takes_no_signature_for_a_loss(artifact: Path, keys: KeyFiles) -> None:
    signing = SigningFiles(trusted=(str(keys.public),))
    assert await is_as_made(artifact, KEY, signing) is True
    (artifact / "a").write_text(f"A of {KEY}")
    assert await is_as_made(artifact, KEY, signing) is False
    (artifact / SIGNATURE).unlink()
    assert await is_as_made(artifact, KEY, signing) is None
    assert await is_as_made(artifact, KEY) is False
    keys.public.unlink()
    assert await is_as_made(artifact, KEY, signing) is None


@pytest.mark.parametrize("vector", read_vectors(), ids=lambda vector: vector.name)
def test_a_vector_of_the_format_is_valid_here_as_it_is_for_model_signing(
    tmp_path: Path, vector: Vector
) -> None:
    keys = vector.write(tmp_path)
    faults = faults_of(find_external_faults(tmp_path / "model", TrustedKeys.load([keys.public])))
    assert (faults == []) is vector.valid, faults
    assert is_valid_for_tool(tmp_path / "model", keys) is vector.valid


def is_valid_for_tool(folder: Path, keys: KeyFiles) -> bool:
    with suppress(Exception):
        verify_with_tool(folder, keys)
        return True
    return False
