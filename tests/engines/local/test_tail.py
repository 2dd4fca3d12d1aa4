"""Visitors see the ends of logs, and no other file of the disk, whatever a status file names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.engine import LogOf, NoTail, Tail
from reconciler.engines.local import LocalLogs
from reconciler.types import Kind, ObjectRef, TaskKind

REF = ObjectRef(Kind.MODEL, "default", "m")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    logs = tmp_path / "root" / "model" / "logs"
    logs.mkdir(parents=True)
    (logs / "attempt-1.log").write_text("first\n")
    (logs / "attempt-2.log").write_text("second\n")
    return logs


async def tail(folder: Path, url: str | None, attempt: int | None = None) -> Tail | NoTail:
    root = next(parent for parent in folder.parents if parent.name == "root")
    asked = LogOf(object=REF, task=TaskKind.TRAIN, attempt=attempt, url=url)
    return await LocalLogs([root]).tail(asked, 20)


async def test_the_end_of_the_newest_log_or_of_another_attempts(folder: Path) -> None:
    log = folder / "attempt-2.log"
    assert await tail(folder, log.as_uri()) == Tail(data=b"second\n", where=str(log), whole=True)
    first = await tail(folder, log.as_uri(), attempt=1)
    assert isinstance(first, Tail)
    assert first.data == b"first\n"


async def test_of_a_long_log_no_more_is_read_than_was_asked_for(folder: Path) -> None:
    log = folder / "attempt-2.log"
    with log.open("wb") as stream:
        stream.truncate(1 << 33)  # a file of holes, more than there is memory
        stream.seek(0, 2)
        stream.write(b"the end\n")
    found = await tail(folder, log.as_uri())
    assert isinstance(found, Tail)
    assert found.data == b"\0" * 12 + b"the end\n"
    assert not found.whole


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "file:///etc/attempt-1.log",
        "{root}/secret",
        "{root}/../attempt-1.log",
        "{logs}/attempt-1.log.txt",
        "{logs}/%2e%2e/%2e%2e/%2e%2e/attempt-1.log",
        "{logs}/attempt-\0.log",
        "{logs}",
    ],
)
async def test_a_status_file_that_names_another_file_is_not_believed(
    folder: Path, url: str
) -> None:
    root = folder.parent.parent
    (root / "secret").write_text("secret")
    (root.parent / "attempt-1.log").write_text("secret")
    found = await tail(folder, url.format(root=root.as_uri(), logs=folder.as_uri()))
    assert isinstance(found, NoTail)


async def test_neither_links_nor_pipes_that_a_command_put_there_are_opened(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("secret")
    (folder / "attempt-3.log").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "attempt-4.log")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "attempt-1.log").write_text("secret")
    (folder.parent / "elsewhere").symlink_to(outside)
    for url in (
        (folder / "attempt-3.log").as_uri(),
        (folder / "attempt-4.log").as_uri(),
        (folder.parent / "elsewhere" / "attempt-1.log").as_uri(),
    ):
        assert isinstance(await tail(folder, url), NoTail), url


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (None, "no log yet"),
        ("gs://bucket/logs/attempt-1.log", "gs://bucket/logs/attempt-1.log"),
        ("{logs}/attempt-9.log", "There is no attempt-9.log any more."),
    ],
)
async def test_what_cannot_be_shown_is_said(folder: Path, url: str | None, told: str) -> None:
    found = await tail(folder, url.format(logs=folder.as_uri()) if url else None)
    assert isinstance(found, NoTail)
    assert told in found.message
