"""Starting a command so that nothing can happen between being started and being known.

The process is forked first and waits; its identity is written down; only then is it told to go
on. If the supervisor is killed in between, the process reads the end of the pipe and ends: a
command that nobody knows of never runs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.engines.local import sandbox
from reconciler.engines.local.process import Identity, die_with_parent, identify

_GO = b"g"
_FIRST_LINE = (
    "; it needs a first line such as #!/bin/sh or #!/usr/bin/env python3, naming a program of "
    "this machine"
)
_HINTS = {
    errno.ENOEXEC: _FIRST_LINE,
    errno.ENOENT: _FIRST_LINE,
    errno.EACCES: _FIRST_LINE,
    errno.E2BIG: "; its params, env and arguments are too large together",
    errno.EINVAL: "; an argument or a variable of env or params has a NUL byte",
}


class CommandError(Exception):
    """The command cannot be started, and trying again would not help; the message says why."""


class LaunchError(Exception):
    """The machine could not start the command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to start: one rank of an attempt. ``read_only`` directories exist."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    read_only: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Launched:
    """A process that waits to be told to go on. ``output`` is its standard output and error."""

    identity: Identity
    output: int
    _go: int
    _status: int
    _name: str

    def go(self) -> None:
        """Let it become the command."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._go, _GO)
        os.close(self._go)

    def confirm(self) -> None:
        """Wait until it has. Raises CommandError, LaunchError."""
        with os.fdopen(self._status, "rb") as status:
            said = status.read(256).decode()
        if not said:
            return
        step, number = said.split(":")
        reason = os.strerror(int(number))
        if step != "exec":
            raise LaunchError(f"the {step} of the command could not be set up: {reason}")
        hint = _HINTS.get(int(number), "")
        raise CommandError(f'"{self._name}" cannot be executed: {reason}{hint}')


def find_program(name: str, cwd: Path, path: str) -> str:
    """The file that a command's first word means: in the working directory, else on PATH.

    Raises CommandError where there is none that can be executed.
    """
    here = cwd / name
    try:
        found_here = here.is_file()
    except OSError:  # longer than a name can be, as a whole command line in one word is
        found_here = False
    if found_here:
        if os.access(here, os.X_OK):
            return str(here)
        raise CommandError(
            f"{name} is in the source but is not executable: git update-index --chmod=+x {name}"
        )
    if "/" not in name and (found := shutil.which(name, path=path)):
        return found
    raise CommandError(f'"{name[:200]}" is neither a file in the source nor a program on PATH')


def launch(command: Command, inherit: Sequence[int]) -> Launched:
    """Fork a process for a command; the descriptors ``inherit`` stay open in it.

    Raises CommandError, and OSError where the machine has no room for another process.
    """
    program = find_program(command.argv[0], command.cwd, command.env.get("PATH", os.defpath))
    ours: list[int] = []
    theirs: list[int] = []
    for mine, its in ((1, 0), (0, 1), (0, 1)):  # go, status, output
        pipe = os.pipe()
        ours.append(pipe[mine])
        theirs.append(pipe[its])
    supervisor = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(command, program, supervisor, ours, theirs, inherit)
    for handle in theirs:
        os.close(handle)
    go, status, output = ours
    os.set_blocking(output, False)
    identity = identify(pid)
    if identity is None:
        raise LaunchError("the process of the command was killed before it began")
    return Launched(identity, output, go, status, command.argv[0])


def _become(
    command: Command,
    program: str,
    supervisor: int,
    ours: Sequence[int],
    theirs: Sequence[int],
    inherit: Sequence[int],
) -> None:
    """In the child: wait to be told, then become the command. Never returns."""
    go, status, output = theirs
    step = "session"
    try:
        die_with_parent()
        os.setsid()
        for handle in ours:
            os.close(handle)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        # Python ignores these two, and what is ignored stays so across exec.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        if os.read(go, 1) != _GO:
            os._exit(0)
        step = "read-only view"
        if command.read_only:
            sandbox.protect(command.read_only)
        # A change of credentials, as that of a user namespace, takes the first request back.
        die_with_parent()
        if os.getppid() != supervisor:
            os._exit(0)
        step = "output"
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for handle in inherit:
            os.set_inheritable(handle, True)
        step = "working directory"
        os.chdir(command.cwd)
        os.umask(0o022)
        step = "exec"
        os.execve(program, command.argv, dict(command.env))  # noqa: S606 - that is the point
    except OSError as error:
        os.write(status, f"{step}:{error.errno or 0}".encode())
    except ValueError:  # a NUL byte, or what is no text, in an argument or a variable
        os.write(status, f"{step}:{errno.EINVAL}".encode())
    finally:
        os._exit(127)
