"""The kernel's count of processes that it killed for want of memory."""

from __future__ import annotations

from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_MACHINE = Path("/proc/vmstat")


def oom_kills(*, own: Path = _OWN, cgroups: Path = _CGROUPS, machine: Path = _MACHINE) -> int:
    """Count the kills so far, of this process's cgroup.

    Without a cgroup, they are the machine's. A cgroup counts its processes whether its own limit or
    the machine's was reached. 0 where the kernel does not tell.
    """
    for path in (*_events(own, cgroups), machine):
        try:
            lines = path.read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, count = line.partition(" ")
            if name == "oom_kill" and count.strip().isdigit():
                return int(count)
    return 0


def _events(own: Path, cgroups: Path) -> list[Path]:
    """Return the files with this process's own count.

    They are of either version of cgroups.
    """
    try:
        lines = own.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            found.append(cgroups / path.lstrip("/") / "memory.events")
        elif "memory" in controllers.split(","):
            found.append(cgroups / "memory" / path.lstrip("/") / "memory.oom_control")
    return found
