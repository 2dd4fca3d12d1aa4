"""The completion marker: its form, and that it holds only for exactly its files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine import Result
from reconciler.engines.local.failures import ArtifactError
from reconciler.engines.local.marker import (
    ArtifactFile,
    Sha256,
    last_attempt,
    list_files,
    make_durable,
    read_marker,
    write_marker,
)

GOLDEN = Path(__file__).parent / "golden"
KEY = "0123456789" * 4


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """An artifact whose marker has no digests, as those of a bucket that is written directly."""
    fill(tmp_path)
    complete(tmp_path)
    return tmp_path


@pytest.fixture
def digested(tmp_path: Path) -> Path:
    """An artifact whose marker has digests."""
    fill(tmp_path)
    complete(tmp_path, make_durable(tmp_path))
    return tmp_path


def fill(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "attempt-2.log").write_text("output\n")
    (tmp_path / "layers").mkdir()
    (tmp_path / "layers" / "0.bin").write_bytes(b"\0" * 10)
    (tmp_path / "layers" / "logs").write_text("a file of this name is not reserved here")
    (tmp_path / "weights.bin").write_bytes(b"\1" * 3)
    (tmp_path / "link.bin").symlink_to("weights.bin")
    (tmp_path / ".reconciler-settled").write_text("reserved")


def complete(tmp_path: Path, digests: Mapping[str, Sha256] | None = None) -> None:
    write_marker(
        tmp_path,
        key=KEY,
        lineage={
            "object": {"kind": "Model", "namespace": "default", "name": "falcon"},
            "commit": "c" * 40,
            "image": "file:///state/images/" + "b" * 40,
            "base": {"key": "a" * 40, "url": "file:///base/"},
            "params": {"epochs": 3},
        },
        metrics={"accuracy": 0.97},
        started=datetime(2026, 11, 23, 9, 0, 0, tzinfo=UTC),
        finished=datetime(2026, 11, 23, 9, 1, 30, 500000, tzinfo=UTC),
        gpu_seconds=181.0,
        attempt=2,
        digests=digests,
    )


def test_the_marker_has_the_form_it_always_had(artifact: Path) -> None:
    golden = (GOLDEN / "completed.json").read_text()
    assert (artifact / "completed.json").read_text() == golden


def test_a_marker_with_digests_has_a_form_of_its_own(digested: Path) -> None:
    golden = (GOLDEN / "completed-digests.json").read_text()
    assert (digested / "completed.json").read_text() == golden
    marker = read_marker(digested, KEY)
    assert marker is not None
    zeros = Sha256(sha256(b"\0" * 10).hexdigest())
    assert marker.files[0] == ArtifactFile(path="layers/0.bin", size=10, sha256=zeros)


def test_a_link_has_the_digest_of_its_file(digested: Path) -> None:
    marker = read_marker(digested, KEY)
    assert marker is not None
    by_path = {file.path: file.sha256 for file in marker.files}
    assert by_path["link.bin"] == by_path["weights.bin"] is not None


def test_a_whole_artifact_is_a_result(artifact: Path) -> None:
    marker = read_marker(artifact, KEY)
    assert marker is not None
    assert marker.result("file:///x/") == Result(
        url="file:///x/", metrics={"accuracy": 0.97}, gpu_seconds=181.0
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: (d / "weights.bin").write_bytes(b"\1"),
        lambda d: (d / "weights.bin").unlink(),
        lambda d: (d / "new").touch(),
        lambda d: (d / "layers" / "0.bin").rename(d / "layers" / "1.bin"),
        lambda d: (d / "completed.json").write_bytes((d / "completed.json").read_bytes()[:-9]),
        lambda d: (d / "completed.json").write_text("[" * 100_000),
        lambda d: (d / "completed.json").unlink(),
        lambda d: (d / "completed.json").write_text("[]"),
        lambda d: edit(d, lambda m: m | {"files": None}),
        lambda d: edit(d, lambda m: m | {"version": 2}),
        lambda d: edit(d, lambda m: m["files"][0].update(sha256="0" * 63) or m),
    ],
)
def test_a_marker_whose_list_does_not_match_is_none(
    artifact: Path, damage: Callable[[Path], object]
) -> None:
    damage(artifact)
    assert read_marker(artifact, KEY) is None


def edit(artifact: Path, change: Callable[[dict[str, Any]], object]) -> None:
    marker = artifact / "completed.json"
    marker.write_text(json.dumps(change(json.loads(marker.read_text()))))


def test_reserved_names_may_change(artifact: Path) -> None:
    (artifact / "logs" / "attempt-3.log").touch()
    (artifact / ".reconciler-other").touch()
    assert read_marker(artifact, KEY) is not None


def test_the_marker_of_another_key_is_none(artifact: Path) -> None:
    assert read_marker(artifact, "f" * 40) is None


@pytest.mark.parametrize("target", ["../outside", "/etc/passwd", "gone", "link"])
def test_a_link_that_leaves_the_artifact_or_leads_nowhere_is_refused(
    tmp_path: Path, target: str
) -> None:
    (tmp_path / "outside").touch()
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "link").symlink_to(target)
    with pytest.raises(ArtifactError, match='"link"'):
        list_files(tmp_path / "artifact")


def test_attempts_are_counted_by_the_highest_log(tmp_path: Path) -> None:
    assert last_attempt(tmp_path / "none") == 0
    for name in ("attempt-2.log", "attempt-10.log", "attempt-99.txt", "attempt-x.log", "notes"):
        (tmp_path / name).touch()
    assert last_attempt(tmp_path) == 10


@pytest.mark.parametrize("seconds", ["1" * 400, "1e999", "NaN", "-1", "true", '"9"', "[]"])
def test_a_cost_that_is_no_number_counts_nothing(artifact: Path, seconds: str) -> None:
    """Who may write to a bucket writes markers, and they are read by the daemon."""
    path = artifact / "completed.json"
    path.write_text(path.read_text().replace("181.0", seconds))
    marker = read_marker(artifact, KEY)
    assert marker is not None
    assert marker.result("file:///a/").gpu_seconds == 0.0


def test_a_marker_that_is_nested_without_an_end_is_none(artifact: Path) -> None:
    (artifact / "completed.json").write_text(f'{{"key": "{KEY}", "metrics": {"[" * 100_000}')
    assert read_marker(artifact, KEY) is None
