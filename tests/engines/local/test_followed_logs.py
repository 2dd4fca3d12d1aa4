"""Logs on this disk are followed from attempt to attempt."""

from __future__ import annotations

from pathlib import Path

from reconciler.engine import LogOf, OpenedLog
from reconciler.engines.local import FollowedFileLogs, rank_lines
from reconciler.types import Kind, ObjectRef, TaskKind


def log_in(folder: Path, *, attempt: int | None = None, rank: int | None = None) -> LogOf:
    url = (folder / "attempt-1.log").as_uri()
    ref = ObjectRef(Kind.MODEL, "default", "m")
    return LogOf(object=ref, task=TaskKind.TRAIN, attempt=attempt, rank=rank, url=url)


async def printed(logs: FollowedFileLogs, log: LogOf) -> list[str]:
    """What a poll brings; of a new file its name, in brackets."""
    pieces = [piece async for piece in logs.poll(log)]
    return [
        f"[{Path(piece.where).name}]" if isinstance(piece, OpenedLog) else piece.decode()
        for piece in pieces
        if piece
    ]


async def test_each_attempt_is_read_to_its_end_and_then_the_next(tmp_path: Path) -> None:
    logs, log = FollowedFileLogs(0), log_in(tmp_path)
    assert await printed(logs, log) == [], "no attempt has begun"
    first = tmp_path / "attempt-1.log"
    first.write_text("one\n")
    assert await printed(logs, log) == ["[attempt-1.log]", "one\n"]
    assert await printed(logs, log) == []
    first.write_text("one\ntwo\n")
    (tmp_path / "attempt-2.log").write_text("three\n")
    assert await printed(logs, log) == ["two\n", "[attempt-2.log]", "three\n"]


async def test_the_newest_attempt_is_the_first_from_its_last_lines_on(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"attempt-{number}.log").write_text(f"{number} a\n{number} b\n{number} c\n")
    logs, log = FollowedFileLogs(2), log_in(tmp_path)
    assert await printed(logs, log) == ["[attempt-2.log]", "2 b\n2 c\n"]
    (tmp_path / "attempt-3.log").write_text("3 a\n3 b\n3 c\n")
    assert await printed(logs, log) == ["[attempt-3.log]", "3 a\n3 b\n3 c\n"]


async def test_one_attempt_is_finished_when_the_next_is_there(tmp_path: Path) -> None:
    logs, log = FollowedFileLogs(0), log_in(tmp_path, attempt=1)
    (tmp_path / "attempt-1.log").write_text("one\n")
    assert await printed(logs, log) == ["[attempt-1.log]", "one\n"]
    assert not logs.finished
    (tmp_path / "attempt-2.log").write_text("two\n")
    assert await printed(logs, log) == []
    assert logs.finished


async def test_whole_lines_of_one_rank_are_followed_without_its_mark(tmp_path: Path) -> None:
    logs, log = FollowedFileLogs(0), log_in(tmp_path, rank=1)
    file = tmp_path / "attempt-1.log"
    file.write_text("[rank 0] a\n[rank 1] b\n[ran")
    assert await printed(logs, log) == ["[attempt-1.log]", "b\n"]
    file.write_text("[rank 0] a\n[rank 1] b\n[rank 1] c\n[rank 0] d\n")
    assert await printed(logs, log) == ["c\n"]


async def test_what_a_command_puts_in_place_of_a_log_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "attempt-1.log").symlink_to(tmp_path / "secret")
    logs = FollowedFileLogs(0)
    assert await printed(logs, log_in(tmp_path)) == []
    (tmp_path / "attempt-2.log").mkdir()
    assert await printed(logs, log_in(tmp_path)) == []


def test_lines_without_a_mark_are_of_every_rank() -> None:
    text = b"all\n[rank 0] a\n[rank 10] b\n"
    assert rank_lines(text, 0) == b"all\na\n"
    assert rank_lines(text, 10) == b"all\nb\n"
