"""Cargo's part of the build: one crate, and what it is linked with from Debian's packages.

Its lock has a checksum of every crate, and does not say where crates come from: Cargo's own
configuration does. Cargo refuses a lock without that, so it is filled in for the build.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.cluster.errors import ClusterFailed, ClusterUnavailable
from tests.processes import run

_PACKAGES = "gcc libc6-dev cmake pkg-config libfuse-dev libclang-dev"
_CHECKSUM = re.compile(r"^checksum = ", re.MULTILINE)
_SOURCE = re.compile(r"^source = .*$", re.MULTILINE)


def version() -> str:
    """That of the compiler, empty where there is none."""
    if None in map(shutil.which, ("cargo", "rustc")):
        return ""
    return run(["rustc", "--version", "--verbose"]).stdout


def check() -> None:
    """Raise `ClusterUnavailable` where a crate cannot be built."""
    if not version():
        raise ClusterUnavailable(
            "it is built with Rust (1.85 or newer), which is not on PATH; "
            "see https://www.rust-lang.org/tools/install"
        )
    missing = [name for name in ("cc", "cmake", "pkg-config") if shutil.which(name) is None]
    if not missing and run(["pkg-config", "--exists", "fuse"]).returncode != 0:
        missing = ["libfuse"]
    if missing:
        raise ClusterUnavailable(
            f"it is built with {', '.join(missing)}, which is missing: apt-get install {_PACKAGES}"
        )


def lay_out(crate: Path, folder: Path) -> None:
    """Copy ``crate`` to ``folder``, which does not exist, with its lock as Cargo wants it."""
    shutil.copytree(crate, folder)
    lock = folder / "Cargo.lock"
    lock.unlink()
    done = run(["cargo", "generate-lockfile"], cwd=folder)
    found = _SOURCE.search(lock.read_text()) if done.returncode == 0 else None
    if found is None:
        raise ClusterFailed(f"cargo generate-lockfile: {done.stderr}")
    ours = (crate / "Cargo.lock").read_text()
    lock.write_text(_CHECKSUM.sub(lambda line: f"{found[0]}\n{line[0]}", ours))


def command(folder: Path) -> list[str]:
    """The build of what is laid out in ``folder``."""
    return ["cargo", "build", "--release", "--locked", "--target-dir", str(folder / "target")]


def take(folder: Path, program: str, target: Path) -> None:
    """Move what was built in ``folder`` to ``target``."""
    (folder / "target" / "release" / program).rename(target)
