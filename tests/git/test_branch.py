"""The status branch: several write it at once, and every commit of each stays."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from reconciler.errors import GitError
from reconciler.git import status_branch as branch_module
from reconciler.git.credentials import Credential
from reconciler.git.status_branch import PUSH_TRIES, RETRY, StatusBranch
from tests.e2e.site import git, hook
from tests.git.conftest import TIMEOUT
from tests.git.copies import status_branch_at
from tests.git.history import History
from tests.git.remotes import FileRemote, Remote, make_bare

NAME = "reconciler/status/local"


def branch_of(
    remote: Remote, path: Path, pause: Callable[[float], None] = lambda _: None
) -> StatusBranch:
    return status_branch_at(
        path / "status.git",
        remote.url("a.git"),
        branch=NAME,
        credentials=remote.credentials(),
        timeout=TIMEOUT,
        pause=pause,
    )


@pytest.fixture
def branch(remote: Remote, tmp_path: Path) -> StatusBranch:
    """The status branch of ``history``, as a daemon opens it."""
    return branch_of(remote, tmp_path)


@pytest.fixture
def local_branch(files: FileRemote, local: History, tmp_path: Path) -> StatusBranch:
    """That of ``local``, which has one commit."""
    found = branch_of(files, tmp_path)
    found.push({"a": b"1"}, "One")
    return found


def log(history: History, *options: str) -> list[str]:
    return git(history.path, "log", "--format=%s", *options, NAME).split("\n")[:-1]


def content(history: History) -> dict[str, str]:
    paths = git(history.path, "ls-tree", "-r", "--name-only", NAME).split()
    return {path: git(history.path, "show", f"{NAME}:{path}") for path in paths}


#: One of several writers: a process of its own, that pushes a number of commits.
WRITER = """
import sys
from pathlib import Path
from reconciler.git.status_branch import StatusBranch
from reconciler.git.credentials import Credential, CredentialTable

path, url, branch, name, count, prefix, key, hosts = sys.argv[1:]
credentials = [Credential(prefix=prefix, ssh_key_file=Path(key), known_hosts_file=Path(hosts))]
status = StatusBranch(
    Path(path), url, branch=branch, credentials=CredentialTable(credentials if prefix else []),
    author_name=name, author_email=f"{name}@localhost",
)
status.fetch()
for number in range(int(count)):
    changes = {f"{name}/{number}": b"x", "shared": f"{name} {number}".encode()}
    assert status.push(changes, f"{name} {number}") is not None
"""


def start_writer(remote: Remote, path: Path, name: str, count: int) -> subprocess.Popen[bytes]:
    table = remote.credentials().credentials
    credential = table[0] if table else Credential(prefix="")
    arguments = [
        path / name / "status.git", remote.url("a.git"), NAME, name, count, credential.prefix,
        credential.ssh_key_file, credential.known_hosts_file,
    ]  # fmt: skip
    return subprocess.Popen([sys.executable, "-c", WRITER, *map(str, arguments)])


def test_of_several_writers_at_once_none_loses_a_commit(
    remote: Remote, history: History, tmp_path: Path
) -> None:
    names, count = ["a", "b", "c"], 3
    writers = [start_writer(remote, tmp_path, name, count) for name in names]
    assert [writer.wait(240) for writer in writers] == [0] * len(names)
    commits = [f"{name} {number}" for name in names for number in range(count)]
    assert sorted(log(history)) == sorted(commits)
    assert git(history.path, "log", "--merges", NAME) == ""
    assert set(content(history)) == {"shared", *(c.replace(" ", "/") for c in commits)}
    assert git(history.path, "fsck", "--strict", quiet=True) is not None


def test_files_are_written_changed_and_deleted_and_folders_come_and_go(
    branch: StatusBranch, history: History
) -> None:
    assert branch.fetch() is None
    first = branch.push({"a/b/c": b"1", "a/d": b"2", "e": b"3"}, "One [skip ci]")
    assert content(history) == {"a/b/c": "1", "a/d": "2", "e": "3"}
    branch.push({"a/b/c": None, "e": b"4", "nowhere/x": None, "e/f": None}, "Two")
    assert content(history) == {"a/d": "2", "e": "4"}
    tip = branch.push({"a/d": None, "a/d/now/a/folder": b"5"}, "Three")
    assert content(history) == {"a/d/now/a/folder": "5", "e": "4"}
    assert log(history) == ["Three", "Two", "One [skip ci]"]
    assert git(history.path, "rev-list", "--max-parents=0", NAME).strip() == first
    assert branch.fetch() == tip
    assert branch.read("e") == b"4"
    assert branch.read("a") is None
    assert branch.read("nowhere/x") is None


def test_nothing_changed_is_no_commit(branch: StatusBranch, history: History) -> None:
    tip = branch.push({"a": b"1"}, "One")
    assert branch.push({"a": b"1", "b": None}, "Two") is None
    assert git(history.path, "rev-parse", NAME).strip() == tip


def test_a_rejected_push_is_made_again_on_top_of_the_others(
    remote: Remote, history: History, tmp_path: Path
) -> None:
    ours, theirs = branch_of(remote, tmp_path / "ours"), branch_of(remote, tmp_path / "theirs")
    ours.push({"ours": b"1", "both": b"ours 1"}, "Ours 1")
    theirs.fetch()
    theirs.push({"theirs": b"1", "both": b"theirs 1"}, "Theirs 1")
    ours.push({"ours": b"2", "both": b"ours 2"}, "Ours 2")
    assert content(history) == {"ours": "2", "theirs": "1", "both": "ours 2"}
    assert log(history) == ["Ours 2", "Theirs 1", "Ours 1"]


def test_the_same_change_made_by_another_meanwhile_is_no_commit(
    remote: Remote, history: History, tmp_path: Path
) -> None:
    ours, theirs = branch_of(remote, tmp_path / "ours"), branch_of(remote, tmp_path / "theirs")
    ours.fetch()
    theirs.push({"a": b"1"}, "Theirs")
    assert ours.push({"a": b"1"}, "Ours") is None
    assert log(history) == ["Theirs"]


def test_a_branch_that_was_deleted_begins_again(branch: StatusBranch, history: History) -> None:
    branch.push({"a": b"1"}, "One")
    git(history.path, "update-ref", "-d", f"refs/heads/{NAME}")
    assert branch.fetch() is None
    branch.push({"b": b"2"}, "Two")
    assert log(history) == ["Two"]


def test_a_branch_that_was_begun_anew_by_somebody_is_taken_as_it_is(
    branch: StatusBranch, history: History
) -> None:
    branch.push({"a": b"1"}, "One")
    history.commit({"z": "anew"}, branch=NAME, orphan=True)
    branch.push({"b": b"2"}, "Two")
    assert content(history) == {"z": "anew", "b": "2"}


@pytest.mark.parametrize("what", ["deleted", "begun anew", "set back"])
def test_what_was_on_a_branch_that_is_gone_is_restored_where_that_is_asked_for(
    what: str, branch: StatusBranch, history: History
) -> None:
    first = history.commit({"a": "1"}, branch=NAME)
    history.commit({"a": "2", "removed/b": "1"}, branch=NAME)
    branch.fetch()  # no more than the tip, as after a restart
    if what == "begun anew":
        history.commit({"z": "theirs"}, branch=NAME, orphan=True)
    elif what == "set back":
        git(history.path, "update-ref", f"refs/heads/{NAME}", first)
    else:
        git(history.path, "update-ref", "-d", f"refs/heads/{NAME}")
    git(history.path, "gc", "--quiet", "--prune=now")
    branch.push({"c": b"1"}, "One", restore=lambda _: True)
    theirs = {"z": "theirs"} if what == "begun anew" else {}
    assert content(history) == {"a": "2", "removed/b": "1", "c": "1", **theirs}
    branch.push({"c": b"2"}, "Two", restore=lambda _: True)
    assert content(history)["c"] == "2"


def test_of_a_long_history_only_the_tip_is_fetched(
    branch: StatusBranch, history: History, tmp_path: Path
) -> None:
    for number in range(30):
        tip = history.commit({f"f{number}": str(number)}, branch=NAME)
    assert branch.fetch() == tip
    here = tmp_path / "status.git"
    assert git(here, "rev-list", "--count", NAME).strip() == "1"
    for number in range(3):
        branch.push({"new": str(number).encode()}, f"New {number}")
    assert log(history)[:4] == ["New 2", "New 1", "New 0", "A commit"]
    assert len(log(history)) == 33


def test_a_push_that_always_comes_second_gives_up_after_a_bounded_wait(
    files: FileRemote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History(make_bare(files.root))
    pauses: list[float] = []
    ours = branch_of(files, tmp_path, pauses.append)
    ours.push({"a": b"1"}, "One")

    def overtaken() -> bool:
        history.commit({"n": str(len(pauses))}, branch=NAME)
        return True

    monkeypatch.setattr(branch_module, "PUSH_TRIES", 5)
    with pytest.raises(GitError, match="was moved by others 5 times in a row"):
        ours.push({"a": b"2"}, "Two", guard=overtaken)
    assert len(pauses) == 5
    assert len(set(pauses)) == 5, "jittered"
    assert all(0 < pause <= RETRY.longest for pause in pauses)
    assert PUSH_TRIES * RETRY.longest < 60


def test_the_guard_is_asked_before_every_try(local: History, local_branch: StatusBranch) -> None:
    answers = iter([True, False])

    def guard() -> bool:
        local.commit({"theirs": "x"}, branch=NAME)
        return next(answers)

    with pytest.raises(GitError, match="another daemon's to write"):
        local_branch.push({"a": b"2"}, "Two", guard=guard)
    assert "Two" not in log(local)


def test_a_push_that_a_hook_refuses_is_tried_once(files: FileRemote, tmp_path: Path) -> None:
    history = History(make_bare(files.root))
    tries = tmp_path / "tries"
    hook(history.path, "update", f"echo try >> {tries}; echo protected branch >&2; exit 1")
    with pytest.raises(GitError, match=r"hook declined|protected branch"):
        branch_of(files, tmp_path).push({"a": b"1"}, "One")
    assert tries.read_text().split() == ["try"]


def test_a_branch_that_is_in_the_way_is_told_at_once(
    branch: StatusBranch, history: History
) -> None:
    in_the_way = NAME.rpartition("/")[0]
    history.commit({"a": ""}, branch=in_the_way)
    with pytest.raises(GitError, match=f"'refs/heads/{in_the_way}' exists"):
        branch.push({"a": b"1"}, "One")


def test_a_locked_ref_is_somebody_else_who_is_first(
    local: History, local_branch: StatusBranch
) -> None:
    lock = local.path / "refs" / "heads" / f"{NAME}.lock"
    lock.touch()
    waited: list[float] = []

    def unlock(seconds: float) -> None:
        waited.append(seconds)
        lock.unlink()

    local_branch._pause = unlock
    local_branch.push({"a": b"2"}, "Two")
    assert len(waited) == 1
    assert log(local) == ["Two", "One"]


HOSTILE: Mapping[str, str] = {
    "GIT_DIR": "/nowhere",
    "GIT_WORK_TREE": "/nowhere",
    "GIT_INDEX_FILE": "/nowhere",
    "GIT_OBJECT_DIRECTORY": "/nowhere",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES": "/nowhere",
    "GIT_NAMESPACE": "elsewhere",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "push.default",
    "GIT_CONFIG_VALUE_0": "nonsense",
    "GIT_TRACE": "1",
    "GIT_PROTOCOL_FROM_USER": "0",
    "GIT_ALLOW_PROTOCOL": "none",
    "LC_ALL": "de_DE.UTF-8",
    "LANGUAGE": "de",
}


def test_nothing_of_the_environment_or_of_hooks_here_has_a_say(
    files: FileRemote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History(make_bare(files.root))
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    ours = branch_of(files, tmp_path)
    for name in ("pre-push", "reference-transaction", "post-checkout"):
        hook(tmp_path / "status.git", name, f"touch {tmp_path}/hook-ran\nexit 1")
    ours.push({"a": b"1"}, "One")
    assert ours.fetch() is not None
    for name in HOSTILE:
        monkeypatch.delenv(name)
    assert not (tmp_path / "hook-ran").exists()
    assert log(history) == ["One"]


def test_a_repository_in_a_folder_with_a_strange_name_is_written(tmp_path: Path) -> None:
    root = tmp_path / "-o a%20b#c;d"
    root.mkdir()
    remote = FileRemote(root)
    history = History(make_bare(root))
    branch_of(remote, tmp_path).push({"a": b"1"}, "One")
    assert branch_of(remote, tmp_path / "again").fetch() is not None
    assert log(history) == ["One"]


def test_a_repository_of_another_user_is_told(files: FileRemote, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a repository away")
    history = History(make_bare(files.root))
    history.commit({"a": ""}, branch=NAME)
    for path in [history.path, *history.path.rglob("*")]:
        os.chown(path, 12345, 12345)
    branch = branch_of(files, tmp_path)
    try:
        branch.push({"a": b"1"}, "One")
    except GitError as error:
        assert "safe.directory" in str(error)  # noqa: PT017 -- newer git minds, older does not
