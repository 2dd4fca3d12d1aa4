"""The git command, run with a clean environment and a hard deadline.

libgit2 reads and writes objects for us, but it does not call remotes. Its timeouts are per
read of a socket, so that a server which sends one header a second keeps a thread for ever, and a
thread cannot be ended; a process can. Its SSH host keys, certificates and timeouts are
process-wide, and its local transport neither fetches shallowly nor compares before it swaps.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from reconciler.errors import GitError, Trouble

#: Bytes that are read of an output, which is more than a million refs, and of an error.
LARGEST_OUTPUT = 256 << 20
LARGEST_ERROR = 64 << 10

#: Variables of the daemon's environment that git gets. Any other, GIT_DIR and GIT_SSH_COMMAND above
#: all, could turn a command on our mirror into one on something else.
_KEPT = (
    "PATH", "TMPDIR", "LD_LIBRARY_PATH",
    "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY",
)  # fmt: skip

_SETTINGS = {
    "core.hooksPath": os.devnull,
    "gc.auto": "0",
    "maintenance.auto": "false",
    "protocol.version": "2",
    # Unpacked, a commit is there before its trees are; a pack is there as a whole or not at all.
    "fetch.unpackLimit": "1",
    "fetch.writeCommitGraph": "false",
    "submodule.recurse": "false",
    "push.recurseSubmodules": "no",
    "push.gpgSign": "false",
    "http.followRedirects": "false",
    "core.fsync": "objects,reference",
}


_running: set[subprocess.Popen[bytes]] = set()


class LateError(GitError):
    """A command did not end by its deadline, and was ended."""

    trouble = Trouble.TIMEOUT


@dataclass(frozen=True, slots=True)
class Done:
    """The exit code and output of a command; 0 is success."""

    code: int
    out: str
    err: str


def environment(
    home: Path, *, settings: Mapping[str, str] | None = None, more: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return an environment in which git reads no configuration but ``settings``.

    ``home`` is HOME, and not the user's, so that neither ~/.gitconfig nor ~/.netrc is read.
    ``more`` are further variables.
    """
    every = _SETTINGS | dict(settings or {})
    env = {name: os.environ[name] for name in _KEPT if name in os.environ}
    env |= {
        "HOME": str(home),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_CONFIG_COUNT": str(len(every)),
    }
    for number, (key, value) in enumerate(every.items()):
        env[f"GIT_CONFIG_KEY_{number}"] = key
        env[f"GIT_CONFIG_VALUE_{number}"] = value
    return env | dict(more or {})


#: In a hook, or a command of ``git rebase --exec``, these name another repository.
_REPOSITORY = frozenset(
    ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY")
)


def user_environment() -> dict[str, str]:
    """Return this user's environment for git in their clone."""
    return {name: value for name, value in os.environ.items() if name not in _REPOSITORY}


def run_as_user(folder: Path, *arguments: str, more: Mapping[str, str] | None = None) -> str:
    """Run git in a clone as its user would.

    Hooks and signing keys are the user's; ``more`` are further variables. Returns the output.
    Raises GitError.
    """
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            env=user_environment() | dict(more or {}),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except FileNotFoundError as error:
        raise GitError("the git command is needed, and is not installed") from error
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
        raise GitError(f"git {arguments[0]} failed: {said}")
    return done.stdout.strip()


def run_git(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    timeout: float,
    largest: int | None = None,
    memory: int | None = None,
) -> Done:
    """Run git, and end it and its child processes at the deadline.

    ``timeout`` is in seconds. ``largest`` is how many bytes git may write into one file, its output
    among them: a fetch of more fails. ``memory`` is the address space in bytes of each of its
    processes. Raises LateError at the deadline, and GitError where git is not installed.
    """
    command = ["git", *arguments]
    # The shell's units are 512 bytes and 1 KiB.
    limits = [f"ulimit -f {-(-largest // 512)}"] if largest is not None else []
    limits += [f"ulimit -v {memory >> 10}"] if memory is not None else []
    if limits:
        command = ["sh", "-c", " && ".join([*limits, 'exec "$@"']), "sh", *command]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=env,
                cwd="/",
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise GitError("the git command is needed, and is not installed") from error
        _running.add(process)
        late = threading.Event()
        # A wait with a timeout asks at intervals of up to 50 ms; one without is told.
        timer = threading.Timer(timeout, _end_late, (process, late))
        timer.daemon = True
        timer.start()
        try:
            code = process.wait()
        finally:
            timer.cancel()
            ended = process not in _running
            _running.discard(process)
            _end(process)
        if late.is_set():
            raise LateError(f"there was no answer within {timeout:g} s")
        if ended:
            raise LateError("git was ended, as the daemon stops")
        return Done(code, _head(out, LARGEST_OUTPUT), _head(err, LARGEST_ERROR))


def end_running() -> None:
    """End every git process, so that none of their callers keeps waiting."""
    for process in _running.copy():
        _running.discard(process)
        _kill(process)


def _end_late(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    _kill(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End git and its children: ssh, a helper, a local remote's process."""
    if process.returncode is None:
        _kill(process)
        process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _head(file: IO[bytes], limit: int) -> str:
    file.seek(0)
    return file.read(limit).decode("utf-8", "replace")
