"""Commands that share a copy work on it one after the other."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from reconciler.errors import GitError
from reconciler.git import alone, copy_lock
from tests.e2e.site import Site, environment, git
from tests.git.remotes import HttpRemote


def test_one_that_is_in_use_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy_lock, "PATIENCE", 0.0)
    copy = tmp_path / "git" / "reader.git"
    told = pytest.raises(GitError, match=r"another command has been working on .*reader\.git")
    with alone(copy), told, alone(copy):
        raise AssertionError("two at once")
    with alone(copy):
        pass


def test_the_next_waits_for_the_end_of_the_one_before(tmp_path: Path) -> None:
    copy, order = tmp_path / "reader.git", []

    def second() -> None:
        with alone(copy):
            order.append("second")

    with alone(copy):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_commands_beside_each_other_read_the_status_of_a_remote(tmp_path: Path) -> None:
    site = Site(tmp_path)
    forge = HttpRemote(tmp_path)
    try:
        git(site.remote, "config", "http.receivepack", "true")
        site.configure(repository={"url": forge.url("manifests.git")})
        site.trained("m")
        site.push()
        assert site.run_once().returncode == 0
        command = [sys.executable, "-m", "reconciler", "status", "m"]
        command += ["--config", str(site.root / "reconciler.yaml")]
        beside = [
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
            )
            for _ in range(6)
        ]
        ends = [process.communicate() for process in beside]
        assert [process.returncode for process in beside] == [0] * 6, ends
    finally:
        forge.close()
