"""The images that every cluster with a node has in its registry from the start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.cluster.images import Image
from tests.cluster.machine import tool
from tests.processes import run

#: What Git needs to clone with submodules, besides itself: BuildKit's Git context runs these.
_GIT_PARTS = ("git-submodule", "git-sh-setup", "git-sh-i18n", "git-sh-i18n--envsubst")
_CAP_SETGID, _CAP_SETUID = 6, 7


def push_all(registry: str, binaries: Mapping[str, Path]) -> Mapping[str, str]:
    """Push them; their references by digest, by name."""
    images = {
        "pause": Image(entrypoint=("/bin/busybox", "sleep", "2147483647"), command=()).busybox(),
        "busybox": Image().busybox(),
        "python": Image(command=("python3",)).busybox().python(),
        "rclone": _rclone(binaries),
        "buildkit": _buildkit(binaries),
    }
    return {name: image.push(registry, name) for name, image in images.items()}


def _rclone(binaries: Mapping[str, Path]) -> Image:
    """rclone, with what mounts a bucket for users other than its own."""
    image = Image().busybox()
    image.file("/usr/bin/rclone", binaries["rclone"])
    image.program("/usr/bin/fusermount3", Path(tool("fusermount3")).resolve())
    image.text("/etc/fuse.conf", "user_allow_other\n")
    return image


def _buildkit(binaries: Mapping[str, Path]) -> Image:
    """BuildKit with runc, Git and ssh; what rootless takes is there too."""
    image = Image().busybox()
    for name in ("buildkitd", "buildctl", "rootlesskit"):
        image.file(f"/usr/bin/{name}", binaries[name])
    image.program("/usr/bin/runc", Path(tool("runc")).resolve())
    git(image)
    # Debian's are set-uid root, and root without CAP_SYS_ADMIN may not write the map of a namespace
    # that another user made; that user with this one capability may.
    for name, capability in {"newuidmap": _CAP_SETUID, "newgidmap": _CAP_SETGID}.items():
        image.program(f"/usr/bin/{name}", Path(tool(name)).resolve(), capability=capability)
    image.text("/etc/subuid", "user:100000:65536\n")
    image.text("/etc/subgid", "user:100000:65536\n")
    image.folder("/run", 0o755)
    return image


def git(image: Image) -> None:
    """Git and ssh, as a program that talks to remotes needs them."""
    for name in ("git", "ssh"):
        image.program(f"/usr/bin/{name}", Path(tool(name)).resolve())
    core = Path(run(["git", "--exec-path"], check=True).stdout.strip())
    image.link(str(core / "git"), "/usr/bin/git")
    # git-remote-http speaks to servers; the others are the shell's part of git.
    for name in _GIT_PARTS:
        image.file(str(core / name), (core / name).resolve())
    for name in ("git-remote-http", "git-remote-https"):
        image.program(str(core / name), (core / name).resolve())
    image.folder("/usr/share/git-core/templates")
