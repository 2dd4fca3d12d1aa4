"""The git command as it is run: bounded, in an environment of its own, with nothing left over."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.errors import GitError, Trouble
from reconciler.git import command
from reconciler.git.command import environment, run_git
from reconciler.git.errors import DamagedError, explain


def test_a_missing_git_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match="the git command is needed, and is not installed"):
        run_git(["version"], env=environment(tmp_path), timeout=60)


def test_what_is_said_is_read_up_to_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "LARGEST_OUTPUT", 5)
    done = run_git(["version"], env=environment(tmp_path), timeout=60)
    assert (done.code, done.out) == (0, "git v")


def test_the_environment_holds_what_is_listed_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "GIT_DIR",
        "GIT_TRACE",
        "SSH_AUTH_SOCK",
        "AWS_SECRET_ACCESS_KEY",
        "XDG_CONFIG_HOME",
    ):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    env = environment(tmp_path)
    assert "x" not in env.values()
    assert env["https_proxy"] == "http://proxy:3128"
    assert env["HOME"] == str(tmp_path)
    assert env["LC_ALL"] == "C"


URL = "https://bot@host/a"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("fatal: unable to access 'https://host/a/': Could not resolve host: host", "resolved"),
        ("fatal: unable to access 'https://h/': Failed to connect to h port 443", "was refused"),
        ("fatal: repository 'https://host/a/' not found", "no such repository"),
        ("fatal: Authentication failed for 'https://host/a/'", "authentication was refused"),
        ("git@host: Permission denied (publickey).\nfatal: Could not read from remote repository.",
         "authentication was refused"),
        ("fatal: detected dubious ownership in repository at '/srv/a'", "safe.directory"),
        ("fatal: unable to access 'https://h/': server certificate verification failed.", "caFile"),
        ("Connection closed by 127.0.0.1 port 22\nfatal: Could not read from remote repository.",
         "Connection closed"),
        ("fatal: unable to access 'https://host/openssl/': Empty reply from server", "Empty reply"),
        ("", r"\?"),
        ("fatal: \x1b[31mred\x07" + "x" * 5000, "red"),
    ],
)  # fmt: skip
def test_what_git_says_is_told_in_one_plain_line(said: str, meant: str) -> None:
    error = explain(URL, said, configured=True)
    assert str(error).startswith("https://host/a cannot be read: ")
    with pytest.raises(GitError, match=meant):
        raise error
    assert not isinstance(error, DamagedError)
    assert str(error).isprintable()
    assert len(str(error)) < 500


@pytest.mark.parametrize(
    "said",
    [
        "error:\nremote: error: Not allowed to push to protected branch s\nremote: error:",  # Gitea
        "GitLab: You are not allowed to push code to protected branches on this project.",
        "error: GH006: Protected branch update failed for refs/heads/s.",
        "fatal: not found",
    ],
)
def test_a_push_that_a_rule_of_the_server_refuses_is_told_as_that(said: str) -> None:
    more = "To https://host/a\n!\tx:refs/heads/s\t[remote rejected] (pre-receive hook declined)"
    error = explain(URL, f"remote: {said}\n{more}", configured=True, verb="pushed to")
    assert error.trouble is Trouble.REFUSED
    assert "cannot be pushed to: a hook or a rule of the server" in str(error)
    told = next(line for line in said.splitlines() if line != "error:").removeprefix("remote: ")
    assert f"(remote: {told})" in str(error)


@pytest.mark.parametrize(
    "said",
    [
        "error: object file ./objects/ab/cd is empty\nfatal: loose object abcd is corrupt",
        "fatal: bad object refs/heads/main",
        "error: file /x/objects/pack/pack-0123456789.pack is not a GIT packfile",
        "fatal: not a git repository: '/x'",
        "fatal: Unable to read tree (1234)",
    ],
)
def test_damage_of_our_own_is_told_apart(said: str) -> None:
    assert isinstance(explain(URL, said, configured=True), DamagedError)
    remote = "\n".join(f"remote: {line}" for line in said.splitlines())
    assert not isinstance(explain(URL, remote, configured=True), DamagedError)
