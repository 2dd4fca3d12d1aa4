"""Read-only binds in a private mount namespace: what mode bits cannot do against root.

Only a guard against accidents: whoever may mount can also undo it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from reconciler.engines.local.process import libc

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


def available(directory: Path) -> bool:
    """Whether this machine lets us, found out by doing it in a child that ends at once."""
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
