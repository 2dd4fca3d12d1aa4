"""Whether this machine can run a node, and what to do about it where it cannot."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from tests.cluster.errors import ClusterUnavailable

PACKAGES = Path(__file__).with_name("apt.txt")
#: One program of each Debian package that a node cannot do without.
_NEEDED = (
    "busybox", "conntrack", "fusermount3", "git", "ip", "iptables", "runc", "ssh", "unshare",
)  # fmt: skip
#: Where Debian keeps what only root runs, which is not on everybody's PATH.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def check(folder: Path | None = None) -> None:
    """Raise `ClusterUnavailable` where pods cannot run here, or not out of ``folder``."""
    if folder is not None and folder.is_relative_to("/var/lib"):
        raise ClusterUnavailable(
            f"a node keeps a /var/lib of its own, so not in {folder}: set TMPDIR"
        )
    if sys.platform != "linux":
        raise ClusterUnavailable("a node that runs pods needs Linux")
    if os.geteuid() != 0:
        raise ClusterUnavailable("a node that runs pods needs root: namespaces, mounts, cgroups")
    missing = [name for name in _NEEDED if shutil.which(name, path=PATH) is None]
    if missing:
        raise ClusterUnavailable(
            f"a node that runs pods needs {', '.join(missing)}: "
            f"apt-get install {' '.join(PACKAGES.read_text().split())}"
        )
    if not Path("/dev/fuse").exists():
        raise ClusterUnavailable("a node with buckets needs /dev/fuse: modprobe fuse")


def tool(name: str) -> str:
    """The path of one of the needed programs."""
    found = shutil.which(name, path=PATH)
    assert found is not None, f"{name} is missing; check() comes first"
    return found
