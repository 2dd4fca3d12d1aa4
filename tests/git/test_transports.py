"""Cloning, fetching and pushing, over each kind of remote."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.errors import GitError
from reconciler.git.credentials import CredentialTable
from reconciler.git.manifest_mirror import Mirror
from reconciler.git.transport import PushRejectedError, Transport
from tests.e2e.site import git, hook
from tests.git.conftest import TIMEOUT
from tests.git.copies import mirror_at
from tests.git.history import History
from tests.git.remotes import HttpRemote, Remote, make_bare, self_signed


def mirror_of(remote: Remote, tmp_path: Path) -> Mirror:
    path, url = tmp_path / "state" / "mirror.git", remote.url("a.git")
    return mirror_at(path, url, credentials=remote.credentials(), timeout=TIMEOUT)


@pytest.fixture
def mirror(remote: Remote, tmp_path: Path) -> Mirror:
    """That of ``a.git`` of a server of each kind."""
    return mirror_of(remote, tmp_path)


def test_a_branch_is_cloned_and_then_kept_up_with(mirror: Mirror, history: History) -> None:
    for number in range(3):
        commit = history.commit({"a.yaml": str(number)})
        assert mirror.fetch() == commit
        assert mirror.read_file(commit, "a.yaml") == str(number).encode()


def test_a_fetch_that_brings_nothing_leaves_everything_as_it_is(
    mirror: Mirror, history: History
) -> None:
    history.commit({"a.yaml": ""})
    head = mirror.fetch()

    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in mirror.path.rglob("*")}

    before = state()
    assert mirror.fetch() == head
    assert state() == before


def test_a_force_pushed_branch_is_followed_and_what_it_was_stays_readable(
    mirror: Mirror, history: History
) -> None:
    history.commit({"a.yaml": "first"})
    old = history.commit({"a.yaml": "second"})
    assert mirror.fetch() == old
    new = history.commit({"a.yaml": "another"}, orphan=True)
    assert mirror.fetch() == new
    assert mirror.read_file(old, "a.yaml") == b"second"


def test_a_missing_branch_is_told_with_those_that_are_there(
    mirror: Mirror, history: History
) -> None:
    history.commit({"a.yaml": ""}, branch="trunk")
    with pytest.raises(GitError, match=r"a\.git has no branch main; it has trunk$"):
        mirror.fetch()


def test_an_empty_repository_is_told_and_works_once_it_is_pushed_to(
    mirror: Mirror, history: History
) -> None:
    with pytest.raises(GitError, match="has no branch main; it is empty"):
        mirror.fetch()
    commit = history.commit({"a.yaml": ""})
    assert mirror.fetch() == commit


def test_a_repository_that_is_not_there_is_told(mirror: Mirror) -> None:
    with pytest.raises(GitError, match=r"a\.git cannot be read: there is no such repository"):
        mirror.fetch()


def test_a_push_makes_and_moves_a_branch_and_never_by_force(
    remote: Remote, history: History, tmp_path: Path
) -> None:
    url, ref = remote.url("a.git"), "refs/heads/reconciler/status/local"
    transport = Transport(remote.credentials(), tmp_path / "home", TIMEOUT)
    work = make_bare(tmp_path, "work.git")
    ours = History(work)
    first = ours.commit({"a": "1"})
    second = ours.commit({"a": "2"})
    other = ours.commit({"a": "3"}, branch="other")

    transport.push(work, url, first, ref)
    transport.push(work, url, second, ref)
    assert git(history.path, "rev-parse", ref).strip() == second
    with pytest.raises(PushRejectedError):
        transport.push(work, url, other, ref)
    assert git(history.path, "rev-parse", ref).strip() == second


def test_a_push_that_a_hook_refuses_is_an_error_with_what_the_hook_says(
    remote: Remote, history: History, tmp_path: Path
) -> None:
    hook(history.path, "pre-receive", "echo no status here >&2\nexit 1")
    transport = Transport(remote.credentials(), tmp_path / "home", TIMEOUT)
    work = make_bare(tmp_path, "work.git")
    commit = History(work).commit({"a": "1"})
    with pytest.raises(GitError, match=r"cannot be pushed to: .*(no status here|hook declined)"):
        transport.push(work, remote.url("a.git"), commit, "refs/heads/x")


@pytest.fixture
def https(tmp_path: Path) -> Iterator[HttpRemote]:
    root = tmp_path / "served"
    root.mkdir()
    with closing(HttpRemote(root, certificate=self_signed(tmp_path / "tls"))) as server:
        yield server


def test_a_private_authority_is_trusted_where_it_is_configured_and_not_otherwise(
    https: HttpRemote, tmp_path: Path
) -> None:
    commit = History(make_bare(https.root)).commit({"a.yaml": ""})
    assert mirror_of(https, tmp_path).fetch() == commit
    stranger = Transport(CredentialTable(), tmp_path / "home", TIMEOUT)
    with pytest.raises(GitError, match="its certificate is not trusted"):
        stranger.list_refs(https.url("a.git"))
