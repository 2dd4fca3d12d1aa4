"""Processes of an attempt, found without trusting a process id alone.

Three properties identify an attempt's processes, as each can be escaped from alone: they are in
the session of one of its ranks; they have the attempt's token in their environment; or,
on Linux, they descend from the supervisor, which is a subreaper, so that a daemonised process
becomes its child when its own parent ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from reconciler.backoff import jittered

#: The environment variable with an attempt's token.
TOKEN = "SUBSTRATUS_ATTEMPT_ID"  # noqa: S105 - a name, and the value is an identity, no secret

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LINUX = sys.platform == "linux"


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process by its id and start, which no later process shares."""

    pid: int
    start: str


@dataclass(frozen=True, slots=True)
class _Entry:
    pid: int
    parent: int
    session: int
    start: str


@cache
def libc() -> ctypes.CDLL:
    """The C library, with errno kept per call."""
    return ctypes.CDLL(None, use_errno=True)


def become_subreaper() -> None:
    """Make orphaned descendants children of this process, on Linux."""
    if _LINUX:
        libc().prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent() -> None:
    """Have this process killed with its parent, on Linux."""
    if _LINUX:
        libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def identify(pid: int) -> ProcessIdentity | None:
    """Return the identity of a process; None without that id."""
    if not _LINUX:
        import psutil  # noqa: PLC0415 - on Linux a supervisor starts without it

        try:
            return ProcessIdentity(pid, str(psutil.Process(pid).create_time()))
        except psutil.Error:
            return None
    entry = _entry(pid)
    return ProcessIdentity(pid, entry.start) if entry else None


def members(token: str, leaders: Sequence[ProcessIdentity], *, own: bool) -> list[int]:
    """Return the ids of an attempt's running processes.

    ``leaders`` are its ranks, each the leader of a session. ``own``: the descendants of the
    calling process belong to it too. Zombies are left out: they run nothing and hold nothing.
    """
    table = {entry.pid: entry for entry in (_table_linux() if _LINUX else _table_psutil())}
    me = os.getpid()
    # A session id cannot be given to a new process while the session has a member. So if its
    # leader's id now belongs to another process, nothing of the session is left. Nor is anything
    # after a reboot, when another session that has outlived its leader may have had that id.
    sessions = {
        leader.pid
        for leader in leaders
        if _since_boot(leader)
        and (leader.pid not in table or table[leader.pid].start == leader.start)
    }
    found = {pid for pid, entry in table.items() if entry.session in sessions}
    found |= {pid for pid in table if pid not in found and _has_token(pid, token)}
    if own and _LINUX:
        found |= _descendants(table, me)
    found.discard(me)
    return sorted(found)


def kill(find: Callable[[], Sequence[int]], reap: Callable[[], None], patience: float) -> bool:
    """Kill the processes of ``find`` until none is left.

    False if that took longer than ``patience`` seconds. Children that are forked during one round
    are found in the next.
    """
    deadline = time.monotonic() + patience
    while pids := find():
        if time.monotonic() > deadline:
            return False
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        reap()
        time.sleep(jittered(0.01))
    return True


def _descendants(table: dict[int, _Entry], root: int) -> set[int]:
    children: dict[int, list[int]] = {}
    for entry in table.values():
        children.setdefault(entry.parent, []).append(entry.pid)
    found: set[int] = set()
    stack = [root]
    while stack:
        for pid in children.get(stack.pop(), ()):
            if pid not in found:
                found.add(pid)
                stack.append(pid)
    return found


def _table_linux() -> list[_Entry]:
    return [
        entry
        for name in os.listdir("/proc")  # noqa: PTH208 - a Path per process would be waste
        if name.isdigit() and (entry := _entry(int(name))) is not None
    ]


def _entry(pid: int) -> _Entry | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The command's name stands in parentheses and may hold anything, parentheses too.
    fields = text[text.rindex(")") + 2 :].split()
    if fields[0] in "ZX":
        return None
    return _Entry(pid, int(fields[1]), int(fields[3]), f"{_boot()}:{fields[19]}")


def _since_boot(leader: ProcessIdentity) -> bool:
    return not _LINUX or leader.start.startswith(f"{_boot()}:")


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _has_token(pid: int, token: str) -> bool:
    if not _LINUX:
        import psutil  # noqa: PLC0415

        try:
            return psutil.Process(pid).environ().get(TOKEN) == token
        except (psutil.Error, OSError):
            return False
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{TOKEN}={token}".encode() in environ.split(b"\0")


def _table_psutil() -> list[_Entry]:
    import psutil  # noqa: PLC0415

    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                session = os.getsid(process.pid)
                start = str(process.create_time())
                found.append(_Entry(process.pid, process.ppid(), session, start))
        except (psutil.Error, OSError):
            continue
    return found
