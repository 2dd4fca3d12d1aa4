"""Mounts of a command, in a mount namespace of its own.

Read-only binds hold for root too, as mode bits do not. Without :mod:`.isolation` they are a guard
against accidents alone: a process that may mount can undo them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from reconciler.engines.local.process import libc

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWPID = 0x20000000
_MS_RDONLY = 0x1
_MS_NOSUID = 0x2
_MS_NODEV = 0x4
_MS_NOEXEC = 0x8
_MS_REMOUNT = 0x20
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_PRIVATE = 0x40000
#: Flags that a user namespace may not drop when it mounts again: they are the same bits in
#: statvfs as in mount(2) but for ST_RELATIME.
_KEPT = 0x2 | 0x4 | 0x8 | 0x400 | 0x800  # nosuid, nodev, noexec, noatime, nodiratime
_ST_RELATIME = 0x1000
_MS_RELATIME = 0x200000
#: What cannot be covered as it is not there, or not to be reached by the command either.
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP)
#: Files of the kernel that root could end other processes by.
_KERNEL = tuple(Path("/proc", name) for name in ("sys", "sysrq-trigger", "irq", "bus", "fs"))
_SYSFS = "/sys"
_DEVICES = Path("/dev")
_NO_DISKS = frozenset({"shm", "pts", "mqueue", "hugepages", "fd"})
_SCSI_GENERIC = re.compile(r"sg\d+")


def unshare(*, processes: bool) -> None:
    """Enter a private mount namespace.

    ``processes``: the next child is the first of a namespace of processes.
    Raises OSError; the process may be in a half-made namespace then and must not go on.
    """
    uid, gid = os.geteuid(), os.getegid()
    flags = _CLONE_NEWNS | (_CLONE_NEWPID if processes else 0)
    # Root needs no user namespace, and in one could no longer give files to other users.
    check(libc().unshare(flags | (_CLONE_NEWUSER if uid else 0)))
    if uid:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")
    _mount(None, "/", _MS_REC | _MS_PRIVATE)


def protect(paths: Iterable[Path]) -> None:
    """Make directories read-only in this mount namespace. Raises OSError."""
    for path in paths:
        _mount(str(path), str(path), _MS_BIND)
        _remount_read_only(str(path))


def can_protect(directory: Path) -> bool:
    """Return true if this machine permits it, tried in a child process."""
    if sys.platform != "linux":
        return False
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            unshare(processes=False)
            protect([directory])
            code = 0
        except OSError:
            pass
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return status == 0


def cover(paths: Iterable[Path], kept: Sequence[Path]) -> None:
    """Put empty files and folders over these, as far as they exist.

    Of a covered folder the ``kept`` paths below it stay as they are. Raises OSError.
    """
    for path in paths:
        real = _existing(path)
        if real is not None:
            _cover(real, kept)


def cover_disks() -> None:
    """Cover devices of disks, by which root reads any file. Raises OSError."""
    for path in _disks(_DEVICES):
        _mount(os.devnull, str(path), _MS_BIND)


def mount_processes() -> None:
    """Show the processes of this namespace alone in /proc. Raises OSError.

    What ends or freezes other processes is read-only, there and in /sys.
    """
    _mount("proc", "/proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, kind="proc")
    protect(path for path in _KERNEL if path.exists())
    for place in _mounted_below(_SYSFS):
        if _existing(Path(place)) is not None:
            _remount_read_only(place)


def _existing(path: Path) -> Path | None:
    """Return where a path leads; None where the command cannot get either."""
    try:
        return Path(os.path.realpath(path, strict=True))
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise


def _cover(target: Path, kept: Sequence[Path]) -> None:
    if not target.is_dir():
        _mount(os.devnull, str(target), _MS_BIND)
        return
    inside = [(each, each.resolve()) for each in kept]
    stays = [(each, real) for each, real in inside if real.is_relative_to(target)]
    if any(real == target for _, real in stays):
        return
    opened = [(real, os.open(real, os.O_PATH)) for _, real in stays if real.exists()]
    try:
        flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
        _mount("covered", str(target), flags, kind="tmpfs", data="mode=755,size=1m")
        for real, handle in opened:
            if stat.S_ISDIR(os.fstat(handle).st_mode):
                real.mkdir(parents=True, exist_ok=True)
            else:
                real.parent.mkdir(parents=True, exist_ok=True)
                real.touch()
            _mount(f"/proc/self/fd/{handle}", str(real), _MS_BIND | _MS_REC)
    finally:
        for _, handle in opened:
            os.close(handle)
    _remount_read_only(str(target))


def _disks(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and _SCSI_GENERIC.fullmatch(entry.name)):
                yield Path(entry.path)
            elif folder == _DEVICES and stat.S_ISDIR(mode) and entry.name not in _NO_DISKS:
                yield from _disks(Path(entry.path))


def _mounted_below(place: str) -> list[str]:
    """Return the mount points at or below a folder."""
    lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    points = (re.sub(rb"\\([0-7]{3})", _byte, line.split()[4]) for line in lines)
    found = {os.fsdecode(point) for point in points}
    return sorted(each for each in found if Path(each).is_relative_to(place))


def _byte(escape: re.Match[bytes]) -> bytes:
    return bytes([int(escape[1], 8)])


def _remount_read_only(target: str) -> None:
    now = os.statvfs(target).f_flag
    kept = (now & _KEPT) | (_MS_RELATIME if now & _ST_RELATIME else 0)
    _mount(None, target, _MS_BIND | _MS_REMOUNT | _MS_RDONLY | kept)


def _mount(
    source: str | None, target: str, flags: int, *, kind: str | None = None, data: str | None = None
) -> None:
    check(
        libc().mount(
            os.fsencode(source) if source else None,
            os.fsencode(target),
            kind.encode() if kind else None,
            ctypes.c_ulong(flags),
            data.encode() if data else None,
        )
    )


def check(code: int) -> None:
    """Raise OSError for a call of the C library that failed."""
    if code != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
