from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.git.history import History
from tests.git.remotes import SSHD, FileRemote, HttpRemote, Remote, SshRemote, make_bare
from tests.needs import unavailable

#: Generous, for what is to succeed on a busy machine.
TIMEOUT = 60.0


def need_sshd() -> None:
    """Skip a test where there is no sshd, except in CI, where there must be."""
    if not SSHD.exists():
        unavailable("there is no /usr/sbin/sshd: install openssh-server to run the ssh tests")


def _ssh(root: Path) -> SshRemote:
    need_sshd()
    return SshRemote(root)


_MAKERS: dict[str, Callable[[Path], Remote]] = {
    "file": FileRemote,
    "http": HttpRemote,
    "ssh": _ssh,
}


def _serve(make: Callable[[Path], Remote], tmp_path: Path) -> Iterator[Remote]:
    root = tmp_path / "served"
    root.mkdir()
    with closing(make(root)) as remote:
        yield remote


@pytest.fixture(params=list(_MAKERS))
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Remote]:
    """A server of each kind."""
    yield from _serve(_MAKERS[request.param], tmp_path)


@pytest.fixture
def http(tmp_path: Path) -> Iterator[HttpRemote]:
    yield from _serve(HttpRemote, tmp_path)  # type: ignore[misc]


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[SshRemote]:
    yield from _serve(_ssh, tmp_path)  # type: ignore[misc]


@pytest.fixture
def files(tmp_path: Path) -> FileRemote:
    root = tmp_path / "served"
    root.mkdir(exist_ok=True)
    return FileRemote(root)


@pytest.fixture
def history(remote: Remote) -> History:
    """The repository ``a.git`` of the server, with a way to put commits into it."""
    return History(make_bare(remote.root))


@pytest.fixture
def local(tmp_path: Path) -> History:
    """The repository ``a.git`` of ``files``."""
    return History(make_bare(tmp_path / "served"))
