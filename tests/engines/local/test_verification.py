"""The comparison of an artifact's files with its marker."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.engines.local.marker import (
    MARKER,
    Marker,
    list_files,
    make_durable,
    write_marker,
)
from reconciler.engines.local.scrub import is_as_made, is_lost
from reconciler.engines.local.verification import FaultKind, FileFault, find_faults

KEY = "0123456789" * 4


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    for name in ("a", "deep/b", "c"):
        (tmp_path / name).write_text(f"content of {name}")
    (tmp_path / "link").symlink_to("c")
    now = datetime.now(UTC)
    write_marker(
        tmp_path, key=KEY, lineage={}, metrics={}, started=now, finished=now,
        gpu_seconds=0, attempt=1, digests=make_durable(tmp_path),
    )  # fmt: skip
    return tmp_path


def compare(
    artifact: Path, key: str = KEY, *, digests: bool = True
) -> tuple[int, Marker | None, list[tuple[str, FaultKind]]]:
    """The bytes that were read, the marker, and the faults."""
    steps, read = find_faults(artifact, key, digests=digests), 0
    while True:
        try:
            read += next(steps)
        except StopIteration as end:
            marker, faults = end.value
            return read, marker, [(fault.path, fault.kind) for fault in faults]


def test_an_artifact_that_is_as_it_was_made_has_no_faults(artifact: Path) -> None:
    read, marker, faults = compare(artifact)
    assert marker is not None
    assert (read, faults) == (sum(file.size for file in marker.files), [])


def test_without_digests_nothing_is_read(artifact: Path) -> None:
    (artifact / "a").write_text("Content of a")
    assert compare(artifact, digests=False)[::2] == (0, [])
    assert compare(artifact)[2] == [("a", FaultKind.CONTENT)]


@pytest.mark.parametrize(
    ("damage", "faults"),
    [
        (lambda d: (d / "a").unlink(), [("a", FaultKind.MISSING)]),
        (lambda d: (d / "a").write_text(""), [("a", FaultKind.SIZE)]),
        (lambda d: (d / "new").touch(), [("new", FaultKind.UNLISTED)]),
        (
            lambda d: (d / "c").write_text("Content of c"),
            [("c", FaultKind.CONTENT), ("link", FaultKind.CONTENT)],
        ),
        (
            lambda d: (d / "deep/b").rename(d / "deep/z"),
            [("deep/b", FaultKind.MISSING), ("deep/z", FaultKind.UNLISTED)],
        ),
        (lambda d: (d / MARKER).unlink(), [(MARKER, FaultKind.MISSING)]),
        (lambda d: (d / MARKER).write_text("["), [(MARKER, FaultKind.INVALID)]),
        (lambda d: (d / "out").symlink_to("/etc/passwd"), [(".", FaultKind.INVALID)]),
        (
            lambda d: (d / "logs").write_text("a file, not the folder"),
            [("logs", FaultKind.UNLISTED)],
        ),
    ],
)
def test_each_difference_is_a_fault(
    artifact: Path, damage: Callable[[Path], object], faults: list[tuple[str, FaultKind]]
) -> None:
    damage(artifact)
    assert compare(artifact)[2] == faults


def test_the_marker_of_another_key_is_none(artifact: Path) -> None:
    _, marker, faults = compare(artifact, "f" * 40)
    assert (marker, faults) == (None, [(MARKER, FaultKind.INVALID)])


def test_a_name_in_a_message_is_short_and_printable() -> None:
    fault = FileFault("x" * 5000 + "\x1b[2J\n.bin", FaultKind.CONTENT, "differs")
    assert len(str(fault)) < 400
    assert str(fault).endswith("x?[2J?.bin: differs")


@contextmanager
def no_more_files() -> Iterator[None]:
    """No file can be opened, as if the process had too many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_cannot_be_read_now_is_not_lost(artifact: Path) -> None:
    with no_more_files():
        lost, found = is_lost(artifact, KEY), compare(artifact)
    assert not lost
    assert found == (0, None, [(MARKER, FaultKind.UNREADABLE)])


def test_a_folder_that_cannot_be_read_is_none_that_is_empty(artifact: Path) -> None:
    with no_more_files(), pytest.raises(OSError, match="open files"):
        list_files(artifact)


async def test_a_scrub_says_nothing_of_what_cannot_be_read(artifact: Path) -> None:
    assert await is_as_made(artifact, KEY)
    (artifact / MARKER).unlink()
    (artifact / MARKER).symlink_to(MARKER)  # opening it fails, as a disk does
    assert await is_as_made(artifact, KEY) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: (d / MARKER).unlink(),
        lambda d: (d / MARKER).write_text("["),
        lambda d: (d / "a").unlink(),
        lambda d: d.rename(d.with_name("elsewhere")),
    ],
)
def test_what_is_gone_or_damaged_is_lost(artifact: Path, damage: Callable[[Path], object]) -> None:
    assert not is_lost(artifact, KEY)
    damage(artifact)
    assert is_lost(artifact, KEY)
