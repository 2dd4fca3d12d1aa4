"""The control groups of a cluster's pods, apart from those of every other kubelet here.

Both generations: one tree per controller, and the unified one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def make(*path: str) -> None:
    """The folders below which a kubelet makes those of its pods."""
    if (_CGROUPS / "cgroup.controllers").exists():
        there = _CGROUPS
        for part in path:
            controllers = (there / "cgroup.controllers").read_text().split()
            (there / "cgroup.subtree_control").write_text(" ".join(f"+{c}" for c in controllers))
            there /= part
            there.mkdir(exist_ok=True)
        return
    for controller in filter(os.path.ismount, _CGROUPS.iterdir()):
        there = controller
        for part in path:
            inherited = {
                name: (there / name).read_text()
                for name in ("cpuset.cpus", "cpuset.mems")
                if (there / name).exists()
            }
            there /= part
            there.mkdir(exist_ok=True)
            for name, value in inherited.items():
                (there / name).write_text(value)


async def remove(name: str) -> None:
    """Remove those of a cluster, that run nothing any more; the kernel may take a moment."""
    for _ in range(100):
        if _removed(name):
            return
        await asyncio.sleep(0.05)


def _removed(name: str) -> bool:
    """Whether all are gone, after one more attempt."""
    roots = [_CGROUPS / name, *(folder / name for folder in _CGROUPS.iterdir())]
    for root in roots:
        for folder, _, _ in os.walk(root, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
    return not any(root.is_dir() for root in roots)
