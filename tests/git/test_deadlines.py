"""Whatever a server does or does not say: every call ends by its deadline, and leaves nothing."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest

from reconciler.errors import GitError
from reconciler.git import transport as transport_module
from reconciler.git.command import Done, LateError, end_running, run_git
from reconciler.git.manifest_mirror import Mirror
from reconciler.git.transport import Transport
from reconciler.reasons import UnresolvedSource, message
from reconciler.types import Commit, GitSource
from tests.e2e.site import hook, until
from tests.git.copies import NOBODY, mirror_at, sources_at
from tests.git.history import History
from tests.git.remotes import BadServer, FileRemote, HttpRemote, SshRemote, make_bare
from tests.patience import PATIENCE, longer

DEADLINE = 0.3
Talk = Callable[[socket.socket, threading.Event], None]


def silent(_: socket.socket, end: threading.Event) -> None:
    end.wait()


def drip(first: bytes, then: bytes) -> Talk:
    """Begins well, and then goes on in small pieces for ever: each of them in time."""

    def talk(connection: socket.socket, end: threading.Event) -> None:
        if first.startswith(b"HTTP"):
            connection.recv(65536)
        connection.sendall(first)
        while not end.wait(0.02):
            connection.sendall(then)

    return talk


_OK = b"HTTP/1.1 200 OK\r\n"
_BODY = (
    b"Content-Type: application/x-git-upload-pack-advertisement\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n22\r\n001e# service=git-upload-pack\n0000\r\n"
)
TALKS: dict[str, Talk] = {
    "http says nothing": silent,
    "http sends headers for ever": drip(_OK, b"X: y\r\n"),
    "http sends refs for ever": drip(
        _OK + _BODY, b"38\r\n0038" + b"a" * 40 + b" refs/heads/" + b"x" * 3 + b"\n\r\n"
    ),
    "ssh says nothing": silent,
    "ssh greets for ever": drip(b"", b"Welcome\r\n"),
}


@pytest.fixture(params=list(TALKS))
def bad(request: pytest.FixtureRequest) -> Iterator[str]:
    scheme = request.param.split()[0]
    with closing(BadServer(TALKS[request.param])) as server:
        yield f"{scheme}://127.0.0.1:{server.port}/a.git"


def test_every_call_ends_with_an_error_and_leaves_no_process(bad: str, tmp_path: Path) -> None:
    transport = Transport(NOBODY, tmp_path / "home", DEADLINE)
    work = make_bare(tmp_path, "work.git")
    commit = History(work).commit({"a": ""})
    before = children()
    calls: list[Callable[[], object]] = [
        lambda: transport.list_refs(bad),
        lambda: transport.fetch(work, bad, ["+refs/heads/main:refs/heads/x"]),
        lambda: transport.push(work, bad, commit, "refs/heads/main"),
    ]
    for call in calls:
        with pytest.raises(GitError) as caught:
            call()
        assert bad in str(caught.value)
    assert children() == before


def children() -> set[int]:
    """What git and ssh run below this process, that may have a cluster below it as well."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.name().startswith(("git", "ssh")):
                found.add(child.pid)
    return found


def test_a_call_in_another_thread_ends_when_the_daemon_does(tmp_path: Path) -> None:
    called = threading.Event()

    def talk(_: socket.socket, end: threading.Event) -> None:
        called.set()
        end.wait()

    transport = Transport(NOBODY, tmp_path / "home", 600.0)
    with closing(BadServer(talk)) as server, ThreadPoolExecutor(1) as pool:
        call = pool.submit(transport.list_refs, f"http://127.0.0.1:{server.port}/a.git")
        assert called.wait(PATIENCE)
        end_running()
        assert isinstance(call.exception(PATIENCE), GitError)


def test_a_late_answer_is_told_with_the_deadline(tmp_path: Path) -> None:
    with closing(BadServer(silent)) as server:
        url = f"http://127.0.0.1:{server.port}/a.git"
        with pytest.raises(GitError, match=f"^{url}: there was no answer within 0.3 s$"):
            Transport(NOBODY, tmp_path / "home", DEADLINE).list_refs(url)


def test_an_ssh_server_that_hangs_once_it_let_one_in_is_left(
    ssh: SshRemote, tmp_path: Path
) -> None:
    make_bare(ssh.root)
    ssh.configure("ForceCommand read never")
    before = children()
    with pytest.raises(GitError, match=r"no answer within 2 s"):
        Transport(ssh.credentials(), tmp_path / "home", 2.0).list_refs(ssh.url("a.git"))
    until(lambda: children() == before, what="the connection to be closed")


def test_a_hook_that_hangs_ends_with_its_push(files: FileRemote, tmp_path: Path) -> None:
    bare = make_bare(files.root)
    hook(bare, "pre-receive", f"cd {tmp_path} && echo $$ > new && mv new pid\nexec sleep 1000")
    work = make_bare(tmp_path, "work.git")
    commit = History(work).commit({"a": ""})
    told = tmp_path / "pid"
    for patience in longer(1.0):
        with pytest.raises(GitError, match=f"no answer within {patience:g} s"):
            Transport(NOBODY, tmp_path / "home", patience).push(
                work, files.url("a.git"), commit, "refs/heads/main"
            )
        if told.exists():
            break
    pid = int(told.read_text())
    until(lambda: not psutil.pid_exists(pid) or zombie(pid), what="the hook to end")


def zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_host_that_does_not_answer_is_asked_once_and_not_once_per_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def ask(arguments: Sequence[str], **options: Any) -> Done:
        asked.append(arguments)
        return run_git(arguments, **options)

    monkeypatch.setattr("reconciler.git.transport.run_git", ask)
    now = [0.0]
    sources = sources_at(tmp_path / "sources", timeout=DEADLINE, per_host=1, clock=lambda: now[0])
    with closing(BadServer(silent)) as server:
        requests = [GitSource(url=f"http://127.0.0.1:{server.port}/{n}") for n in range(8)]
        threads = threading.active_count()
        found = sources.resolve(requests)
        assert len(asked) == 1
        reasons = [
            message(where.reason) for where in found.values() if isinstance(where, UnresolvedSource)
        ]
        assert len(reasons) == 8
        assert all("no answer within" in reason for reason in reasons)
        now[0] += 1000.0
        sources.resolve(requests)
        assert len(asked) == 2
        assert threading.active_count() <= threads + len(asked), "the server's own, and no others"


def test_what_cannot_be_looked_up_is_tried_less_and_less_often(tmp_path: Path) -> None:
    now = [0.0]
    sources = sources_at(tmp_path / "sources", interval=60.0, clock=lambda: now[0])
    request = GitSource(url=(tmp_path / "nowhere").as_uri(), commit=Commit("a" * 40))
    waits = []
    for _ in range(6):
        assert isinstance(sources.resolve([request])[request], UnresolvedSource)
        waits.append(sources.due())
        now[0] += waits[-1] + 0.001
    assert waits[0] <= 5 * 1.25 + 0.1
    assert max(waits) <= 60 * 1.25 + 1
    assert waits[-1] > 50


def test_a_repository_that_takes_too_long_to_clone_gets_more_time_each_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.git.transport.FETCH_PATIENCE", 1)
    root = tmp_path / "remotes"
    head = History(make_bare(root)).commit({"large": random.Random(1).randbytes(400_000).hex()})
    with (
        closing(HttpRemote(root)) as remote,
        closing(BadServer(lambda one, end: narrow(one, remote.port, end))) as slow,
    ):
        url = f"http://127.0.0.1:{slow.port}/a.git"
        mirror = mirror_at(tmp_path / "mirror", url, timeout=2.0)
        with pytest.raises(LateError):
            mirror.fetch()
        until(lambda: fetched(mirror) == head, what="a fetch that was given time enough")


def fetched(mirror: Mirror) -> Commit | None:
    try:
        return mirror.fetch()
    except LateError:
        return None


def narrow(one: socket.socket, port: int, end: threading.Event) -> None:
    """A connection through which 100 kB come in a second."""
    with socket.create_connection(("127.0.0.1", port)) as other:
        threading.Thread(target=copy, args=(one, other, end, 0.0)).start()
        copy(other, one, end, 0.05)
        one.shutdown(socket.SHUT_RDWR)


def copy(source: socket.socket, target: socket.socket, end: threading.Event, pause: float) -> None:
    with contextlib.suppress(OSError):
        while (data := source.recv(5_000)) and not end.wait(pause):
            target.sendall(data)


def test_refs_without_end_are_refused_long_before_the_deadline(tmp_path: Path) -> None:
    def flood(connection: socket.socket, end: threading.Event) -> None:
        connection.recv(65536)
        head = b"%040x HEAD\0agent=x\n" % 1
        connection.sendall(
            _OK
            + b"Content-Type: application/x-git-upload-pack-advertisement\r\n"
            + b"Connection: close\r\n\r\n001e# service=git-upload-pack\n0000"
            + b"%04x%s" % (len(head) + 4, head)
        )
        number = 0
        while not end.is_set():
            lines = [b"%040x refs/heads/%012d\n" % (1, number + n) for n in range(5000)]
            number += 5000
            connection.sendall(b"".join(b"%04x%s" % (len(line) + 4, line) for line in lines))

    with (
        closing(BadServer(flood)) as server,
        mock.patch.object(transport_module, "LOOK_UP_MEMORY", 160 << 20),
        pytest.raises(GitError, match="sends more than is accepted") as caught,
    ):
        Transport(NOBODY, tmp_path / "home", 300).list_refs(f"http://127.0.0.1:{server.port}/a.git")
    assert not isinstance(caught.value, LateError)
