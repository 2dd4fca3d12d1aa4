"""Commands of the product in forks of one process that has imported it.

A command is a process of its own, as if it had just been started with that environment in that
folder. Only the imports are made once for all of them: they take longer than most commands.

``python -m tests.command_server SOCKET`` is the server; ``run_command`` and ``start_command`` start
one where there is none for this process.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import NoReturn, Protocol

#: What the interpreter or a library reads once, when it is started or imported.
_READ_ONCE = ("HOME", "LANG", "LANGUAGE", "LC_", "PYTHON", "XDG_", "TZ", "TMPDIR", "GIT_", "SSL_")
#: Of the server; a test may have set others meanwhile.
_ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
_LARGEST = 1 << 20
#: Imported by no command of the local engine, and slow; the entry point runs a command.
_LEFT_OUT = ("reconciler.engines.kubernetes", "reconciler.__main__")


class Running(Protocol):
    """A command that goes on, as `subprocess.Popen` has it."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sig: int) -> None: ...

    def kill(self) -> None: ...


def run_command(
    arguments: Sequence[str], *, env: Mapping[str, str], timeout: float, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """What a command ended with and printed, as ``processes.run`` returns it.

    It reads nothing from standard input. Raises subprocess.TimeoutExpired.
    """
    command = _program(arguments)
    if not _is_served(env):
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=env, timeout=timeout, cwd=cwd
        )
    outputs = [os.pipe() for _ in range(2)]
    forked = _fork(arguments, env, cwd, [there for _, there in outputs])
    for _, there in outputs:
        os.close(there)
    readers = [_Reader(here) for here, _ in outputs]
    try:
        code = forked.wait(timeout)
    except subprocess.TimeoutExpired:
        forked.kill()
        out, err = (reader.read() for reader in readers)
        raise subprocess.TimeoutExpired(command, timeout, out, err) from None
    out, err = (reader.read() for reader in readers)
    return subprocess.CompletedProcess(command, code, out, err)


def start_command(arguments: Sequence[str], *, env: Mapping[str, str], log: Path) -> Running:
    """A command that goes on, and adds what it prints to a file."""
    with log.open("a") as output:
        if not _is_served(env):
            command = _program(arguments)
            return subprocess.Popen(command, env=env, stdout=output, stderr=output)
        return _fork(arguments, env, None, [output.fileno()] * 2)


def _program(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "reconciler", *arguments]


def _is_served(env: Mapping[str, str]) -> bool:
    return _read_once(env) == _read_once(_ENVIRONMENT)


class _Forked:
    """A command in a fork of the server, which tells its process id and its exit code."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._told = b""
        self._code: int | None = None
        self.pid = int(self._line(None))

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        if self._code is None:
            self._code = int(self._line(timeout))
            self._connection.close()
        return self._code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _line(self, timeout: float | None) -> bytes:
        deadline = time.monotonic() + timeout if timeout is not None else None
        while b"\n" not in self._told:
            left = max(0.0, deadline - time.monotonic()) if deadline is not None else None
            if not select.select([self._connection], [], [], left)[0]:
                raise subprocess.TimeoutExpired("reconciler", timeout or 0)
            received = self._connection.recv(_LARGEST)
            assert received, "the command server has ended"
            self._told += received
        line, _, self._told = self._told.partition(b"\n")
        return line


def _fork(
    arguments: Sequence[str], env: Mapping[str, str], cwd: Path | None, outputs: Sequence[int]
) -> _Forked:
    request = {"arguments": arguments, "env": dict(env), "cwd": str(cwd or Path.cwd())}
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(_server()))
    with Path(os.devnull).open("rb") as nothing:
        files = [nothing.fileno(), *outputs]
        socket.send_fds(connection, [json.dumps(request).encode() + b"\n"], files)
    return _Forked(connection)


class _Reader:
    """Reads all that is written to a pipe, so that the writer never waits."""

    def __init__(self, pipe: int) -> None:
        self._text = ""
        self._pipe = pipe
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def _take(self) -> None:
        with os.fdopen(self._pipe, encoding="utf-8") as file:
            self._text = file.read()

    def read(self) -> str:
        self._thread.join()
        return self._text


def _read_once(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(_READ_ONCE)}


_LOCK = threading.Lock()
_STARTED: list[Path] = []


def _server() -> Path:
    """The socket of this process's server, which ends with this process."""
    with _LOCK:
        if not _STARTED:
            folder = Path(tempfile.mkdtemp(prefix="commands-"))
            place = folder / "socket"
            with (folder / "log").open("wb") as log:
                server = subprocess.Popen(
                    [sys.executable, "-m", "tests.command_server", str(place)],
                    cwd=Path(__file__).parents[1],
                    env=_ENVIRONMENT,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                )
            atexit.register(_end, server, folder)
            while not place.exists():
                assert server.poll() is None, (folder / "log").read_text()
                time.sleep(0.01)
            _STARTED.append(place)
        return _STARTED[0]


def _end(server: subprocess.Popen[bytes], folder: Path) -> None:
    assert server.stdin is not None
    server.stdin.close()  # at which it ends, as it does where this process was killed
    server.wait()
    shutil.rmtree(folder)


# -- the server ----------------------------------------------------------------------------------


def _serve(place: Path) -> NoReturn:
    import reconciler
    from reconciler.config import Config
    from reconciler.manifests import DatasetManifest, ModelManifest

    # Commands import most modules when they come to use them.
    for module in walk_packages(reconciler.__path__, "reconciler."):
        if not module.name.startswith(_LEFT_OUT):
            import_module(module.name)
    for kind in (Config, DatasetManifest, ModelManifest):
        kind.model_rebuild()  # else each command would build the validators
    assert threading.active_count() == 1
    gc.collect()
    gc.freeze()  # else each fork copies and looks through all of it at its end: 0.3 s
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{place}.new")
        listener.listen(64)
        Path(f"{place}.new").rename(place)
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                os._exit(0)
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _watch(connection)
            connection.close()


def _watch(connection: socket.socket) -> None:
    """Run one command, and tell its process id and exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    text, files, _, _ = socket.recv_fds(connection, _LARGEST, 3)
    while not text.endswith(b"\n"):
        text += connection.recv(_LARGEST)
    request = json.loads(text)
    pid = os.fork()
    if pid == 0:
        connection.close()
        _command(request, files)
    connection.sendall(f"{pid}\n".encode())
    for file in files:
        os.close(file)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    connection.sendall(f"{code}\n".encode())
    os._exit(0)


def _command(request: Mapping[str, object], files: Sequence[int]) -> NoReturn:
    from reconciler.cli import program

    for target, file in enumerate(files):
        os.dup2(file, target)
        os.close(file)
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace")
    arguments, env, cwd = request["arguments"], request["env"], request["cwd"]
    assert isinstance(arguments, list)
    assert isinstance(env, dict)
    os.chdir(str(cwd))
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["reconciler", *arguments]
    program()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
