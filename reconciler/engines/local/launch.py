"""Launch of a command: no process runs before its identity is recorded.

The process is forked first and waits; its identity is written down; only then does it get the
byte to go on. If the supervisor is killed in between, the process reads the end of the pipe and
ends: a command without a record never runs.

With :mod:`.isolation` two more processes stand between supervisor and command: the one that was
recorded, and the first one of the command's namespace.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.engines.local.failures import CommandError, LaunchError
from reconciler.engines.local.isolation import Handles, Isolation, become_isolated
from reconciler.engines.local.mounts import protect, unshare
from reconciler.engines.local.process import ProcessIdentity, die_with_parent, identify
from reconciler.engines.local.program import find_program
from reconciler.reasons import ReasonCode

_GO = b"g"
_HINTS = {
    errno.E2BIG: "; its params, env and arguments are too large together",
    errno.EINVAL: "; an argument or a variable of env or params has a NUL byte",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RankCommand:
    """The command of one rank. ``read_only`` directories exist.

    ``isolation`` is None where the command shares the supervisor's namespaces. ``said`` is the
    command as the user wrote it, if that is another.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    read_only: tuple[Path, ...] = ()
    isolation: Isolation | None = None
    said: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """The command for messages."""
        return self.said or self.argv


@dataclass(frozen=True, slots=True)
class Launched:
    """A process that waits to be released.

    ``output`` is its standard output and error. From ``result`` the exit code of an isolated
    command is read, whose process may go on; None for another.
    """

    identity: ProcessIdentity
    output: int
    result: int | None
    _go: int
    _status: int
    _name: str

    def go(self) -> None:
        """Release the process to become the command."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._go, _GO)
        os.close(self._go)

    def close(self) -> None:
        """Close what the supervisor reads from."""
        os.close(self.output)
        if self.result is not None:
            os.close(self.result)

    def confirm(self) -> None:
        """Wait until the command runs. Raises CommandError, LaunchError."""
        with os.fdopen(self._status, "rb") as status:
            failed = status.read(256).decode()
        if not failed:
            return
        step, number = failed.split(":")
        problem = os.strerror(int(number))
        if step != "exec":
            raise LaunchError(f"the {step} of the command could not be set up: {problem}")
        detail = f'"{self._name}" cannot be executed: {problem}{_HINTS.get(int(number), "")}'
        raise CommandError(ReasonCode.COMMAND_NOT_STARTED, detail=detail)


def launch(command: RankCommand, inherit: Sequence[int]) -> Launched:
    """Fork a process for a command; ``inherit`` stay open in it.

    ``inherit`` are descriptors. Raises CommandError, and OSError where the machine has no room for
    another process.
    """
    program = find_program(command.argv[0], command.cwd, command.env.get("PATH", os.defpath))
    ours: list[int] = []
    theirs: list[int] = []
    for mine, its in ((1, 0), (0, 1), (0, 1)):  # go, status, output
        pipe = os.pipe()
        ours.append(pipe[mine])
        theirs.append(pipe[its])
    if command.isolation is not None:
        result, write = os.pipe()
        ours.append(result)
        theirs.append(write)
    supervisor = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(command, program, supervisor, ours, theirs, inherit)
    for handle in theirs:
        os.close(handle)
    go, status, *readable = ours
    for handle in readable:
        os.set_blocking(handle, False)
    output, ended = readable[0], readable[1] if readable[1:] else None
    identity = identify(pid)
    if identity is None:
        raise LaunchError("the process of the command was killed before it began")
    return Launched(identity, output, ended, go, status, command.words[0])


def _become(
    command: RankCommand,
    program: str,
    supervisor: int,
    ours: Sequence[int],
    theirs: Sequence[int],
    inherit: Sequence[int],
) -> None:
    """Wait in the child for release, then become the command. Never returns."""
    go, status, output, *result = theirs
    step = "session"

    def enter(name: str) -> None:
        nonlocal step
        step = name

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
        if command.isolation is not None:
            handles = Handles(supervisor, inherit, result[0])
            become_isolated(command.isolation, command.read_only, handles, enter)
            inherit = ()
        else:
            enter("read-only view")
            _stay(command.read_only, supervisor)
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


def _stay(read_only: Sequence[Path], supervisor: int) -> None:
    """Keep the supervisor's namespaces but for read-only directories. Raises OSError."""
    if read_only:
        unshare(processes=False)
        protect(read_only)
    # A change of credentials, as that of a user namespace, takes the first request back.
    die_with_parent()
    if os.getppid() != supervisor:
        os._exit(0)
