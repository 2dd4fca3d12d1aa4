"""A disk that takes nothing more, or never did, is an error like any other: later it may do."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.errors import GitError
from tests.e2e.site import Site, git
from tests.git.copies import mirror_at, status_branch_at
from tests.git.history import History
from tests.git.remotes import make_bare


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can grow meanwhile, which libgit2 is told as it is of a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_push_from_a_full_disk_is_an_error_and_is_made_when_there_is_room(tmp_path: Path) -> None:
    history = History(make_bare(tmp_path))
    branch = status_branch_at(tmp_path / "status.git", history.url)
    assert branch.push({"a": b"1"}, "One") is not None
    with pytest.raises(GitError, match=r"status\.git cannot be written"), full_disk():
        branch.push({"a": b"2"}, "Two")
    assert branch.push({"a": b"2"}, "Two") is not None
    assert git(history.path, "show", "status:a") == "2"


def test_a_copy_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(GitError, match=r"mirror\.git cannot be written: "):
        mirror_at(tmp_path / "file/mirror.git", "/a")


def test_a_root_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.configure(local={"root": "reconciler.yaml"})
    done = site.sync()
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "cannot be written" in line
