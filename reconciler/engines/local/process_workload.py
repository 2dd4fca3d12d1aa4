"""The workload of a process: nothing beside it, and its memory."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.engines.local.container_terms import Program
from reconciler.engines.local.failures import RunFailedError

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


def machine_oom_kills() -> int:
    """Count the kills so far on this machine."""
    return oom_kills(own=Path(os.devnull))


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


@dataclass(frozen=True, slots=True)
class ProcessWorkload:
    """Nothing but processes. ``kills`` is the count of :func:`oom_kills` at the begin."""

    token: str = field(default_factory=lambda: secrets.token_hex(16))
    kills: int = field(default_factory=oom_kills)

    @property
    def program(self) -> Program | None:
        """None: there are no containers."""
        return None

    def end(self) -> None:
        """Do nothing: the supervisor has ended the processes."""

    def starved(self) -> bool:
        """Return whether the kernel has killed a process for want of memory."""
        return oom_kills() > self.kills

    def refused(self, rank: int, last: str) -> RunFailedError | None:
        """Return None: what ran was the command."""
        return None
