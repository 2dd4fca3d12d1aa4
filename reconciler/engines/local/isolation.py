"""Isolation of a command: namespaces of its own, and few capabilities.

Three processes take part, each the parent of the next:

* The *leader* has the identity that is recorded, and waits. It is killed with the supervisor.
* The *init* is the first process of the new namespace of processes, is killed with the leader,
  and all processes of the namespace with it, whatever they did. It has made the mounts, reaps
  orphans, passes SIGTERM on, and reports the command's exit code while other processes go on.
* The *command* leads a session of its own.

Leader and init are copies of the supervisor and have its secrets in their memory: the leader is in
no namespace of the command, and the init cannot be traced (PR_SET_DUMPABLE). Both hold the
locks that the attempt inherits, so that the command, which could release them, gets none.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from reconciler.engines.local.mounts import (
    check,
    cover,
    cover_disks,
    mount_processes,
    protect,
    unshare,
)
from reconciler.engines.local.process import die_with_parent, libc

_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_LEADER, _INIT = b"run-leader", b"run-init"
_PR_CAPBSET_DROP = 24
_PR_CAPBSET_READ = 23
_STANDARD_ERROR = 2
_CAPABILITY_VERSION = 0x20080522
#: The capabilities that root keeps, by their numbers in linux/capability.h: those over files,
#: users and signals; bind, raw and broadcast of networks; locked memory, priorities and limits,
#: which training uses; leases and the audit log. Without DAC_READ_SEARCH no file is opened by its
#: handle behind a cover, without SYS_ADMIN nothing is mounted.
_KEPT = frozenset({0, 1, 3, 4, 5, 6, 7, 8, 10, 11, 13, 14, 23, 24, 28, 29, 31})


@dataclass(frozen=True, slots=True)
class Isolation:
    """The files that a command cannot see.

    ``covered`` are files and folders; paths below one of these that are ``kept`` stay.
    """

    covered: tuple[Path, ...] = ()
    kept: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Handles:
    """The supervisor's id, and descriptors of an isolated launch.

    ``inherit`` are held until no process is left. The init writes the exit code to ``result``.
    """

    supervisor: int
    inherit: Sequence[int]
    result: int


def become_isolated(
    isolation: Isolation,
    read_only: Sequence[Path],
    handles: Handles,
    step: Callable[[str], None],
) -> None:
    """Return in the process of the command; leader and init never do.

    ``step`` is called with the name of what may fail next. Raises OSError, in any of the three.
    """
    _name(_LEADER)
    step("namespace")
    unshare(processes=True)
    # A change of credentials, as that of a user namespace, takes the first request back.
    die_with_parent()
    if os.getppid() != handles.supervisor:
        os._exit(0)
    # The group of the leader, which has the init too, gets the signal for the command.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    alive, leads = os.pipe()
    # Listed before the init replaces /proc, which shares the namespace of mounts.
    opened = _open_handles()
    init = os.fork()
    if init:
        _close(opened, (*handles.inherit, leads))
        _, status = os.waitpid(init, 0)
        os._exit(_code(status))
    _name(_INIT)
    os.close(leads)
    die_with_parent()
    if select.select([alive], (), (), 0)[0]:  # the leader had ended before
        os._exit(0)
    os.close(alive)
    step("view of files")
    cover(isolation.covered, isolation.kept)
    step("read-only view")
    protect(read_only)
    step("view of disks")
    if os.geteuid() == 0:
        cover_disks()
    step("view of processes")
    mount_processes()
    step("capabilities")
    _drop_capabilities()
    step("process")
    # Listed before the process belongs to root for an ordinary user.
    opened = _open_handles()
    _prctl(_PR_SET_DUMPABLE, 0)
    command = -1

    def terminate(*_: object) -> None:
        if command > 0:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(command, signal.SIGTERM)

    signal.signal(signal.SIGTERM, terminate)
    command = os.fork()
    if command == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setsid()
        return
    _close(opened, (*handles.inherit, handles.result))
    _tend(command, handles.result)


def _tend(command: int, result: int) -> NoReturn:
    """Report the command's end, and reap processes until none is left."""
    code = 0
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            os._exit(code)
        if pid == command:
            code = _code(status)
            with contextlib.suppress(BrokenPipeError):
                os.write(result, bytes([code]))
            os.close(result)


def _code(status: int) -> int:
    """Return a shell's exit code: 128 plus the number of a signal."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _open_handles() -> list[int]:
    return [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208 - no paths


def _close(handles: Sequence[int], kept: Sequence[int]) -> None:
    for handle in handles:
        if handle > _STANDARD_ERROR and handle not in kept:
            with contextlib.suppress(OSError):  # that of the list itself
                os.close(handle)


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


def _drop_capabilities() -> None:
    """Drop all but a few capabilities, for set-uid programs too. Raises OSError."""
    number = 0
    while _prctl(_PR_CAPBSET_READ, number) >= 0:
        if number not in _KEPT:
            check(_prctl(_PR_CAPBSET_DROP, number))
        number += 1
    header = _Header(_CAPABILITY_VERSION, 0)
    # Effective, permitted and inheritable ones, of numbers below 32 and from there on.
    data = (ctypes.c_uint32 * 6)()
    check(libc().capget(ctypes.byref(header), ctypes.byref(data)))
    mask = sum(1 << number for number in _KEPT)
    for at in range(6):
        data[at] &= (mask >> 32 * (at // 3)) & 0xFFFFFFFF
    check(libc().capset(ctypes.byref(header), ctypes.byref(data)))


def _name(name: bytes) -> None:
    """Name this process, whose arguments are its supervisor's."""
    libc().prctl(_PR_SET_NAME, name, 0, 0, 0)


def _prctl(option: int, value: int) -> int:
    code: int = libc().prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0)))
    return code
