"""Launch of a command: no process runs before its identity is recorded.

The process is forked first and waits; its identity is written down; only then does it get the
byte to go on. If the supervisor is killed in between, the process reads the end of the pipe and
ends: a command without a record never runs.

Directories are protected by read-only binds in a private mount namespace, which holds for root
too, as mode bits do not. Only a guard against accidents: a process that may mount can undo it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.engines.local.failures import CommandError, LaunchError
from reconciler.engines.local.process import ProcessIdentity, die_with_parent, identify, libc
from reconciler.engines.local.program import find_program
from reconciler.reasons import ReasonCode

_GO = b"g"
_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_RDONLY = 0x1
_MS_REMOUNT = 0x20
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_PRIVATE = 0x40000
#: Flags that a user namespace may not drop when it mounts again: they are the same bits in
#: statvfs as in mount(2) but for ST_RELATIME.
_KEPT = 0x2 | 0x4 | 0x8 | 0x400 | 0x800  # nosuid, nodev, noexec, noatime, nodiratime
_ST_RELATIME = 0x1000
_MS_RELATIME = 0x200000
_HINTS = {
    errno.E2BIG: "; its params, env and arguments are too large together",
    errno.EINVAL: "; an argument or a variable of env or params has a NUL byte",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RankCommand:
    """The command of one rank. ``read_only`` directories exist.

    ``said`` is the command as the user wrote it, if that is another.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    read_only: tuple[Path, ...] = ()
    said: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """The command for messages."""
        return self.said or self.argv


@dataclass(frozen=True, slots=True)
class Launched:
    """A process that waits to be released.

    ``output`` is its standard output and error.
    """

    identity: ProcessIdentity
    output: int
    _go: int
    _status: int
    _name: str

    def go(self) -> None:
        """Release the process to become the command."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._go, _GO)
        os.close(self._go)

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
    return Launched(identity, output, go, status, command.words[0])


def _become(
    command: RankCommand,
    program: str,
    supervisor: int,
    ours: Sequence[int],
    theirs: Sequence[int],
    inherit: Sequence[int],
) -> None:
    """Wait in the child for release, then become the command. Never returns."""
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
            protect(command.read_only)
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


def protect(paths: Sequence[Path]) -> None:
    """Make directories read-only for this process and its children. Raises OSError.

    After a failure the process may be in a half-made namespace and must not go on.
    """
    uid, gid = os.geteuid(), os.getegid()
    # Root needs no user namespace, and in one could no longer give files to other users.
    _check(libc().unshare(_CLONE_NEWNS | (_CLONE_NEWUSER if uid else 0)))
    if uid:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")
    _mount(None, "/", _MS_REC | _MS_PRIVATE)
    for path in paths:
        target = str(path)
        _mount(target, target, _MS_BIND)
        now = os.statvfs(target).f_flag
        kept = (now & _KEPT) | (_MS_RELATIME if now & _ST_RELATIME else 0)
        _mount(None, target, _MS_BIND | _MS_REMOUNT | _MS_RDONLY | kept)


def can_protect(directory: Path) -> bool:
    """Return true if this machine permits it, tried in a child process."""
    if sys.platform != "linux":
        return False
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            protect([directory])
            code = 0
        except OSError:
            pass
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return status == 0


def _mount(source: str | None, target: str, flags: int) -> None:
    _check(
        libc().mount(
            source.encode() if source else None,
            os.fsencode(target),
            None,
            ctypes.c_ulong(flags),
            None,
        )
    )


def _check(code: int) -> None:
    if code != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
