"""What a soak does with folders, disks and repositories of this machine."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.processes import run

#: MiB of the disk that the state is on.
DISK = 256


def fresh_site(folder: Path, configuration: Mapping[str, Any]) -> list[str]:
    """Write a configuration beside cloned repositories; returns the command that syncs once."""
    file = folder / "reconciler.yaml"
    file.write_text(json.dumps(configuration))
    return [sys.executable, "-m", "reconciler", "run", "--once", "--config", str(file)]


def remove_quietly(folder: Path) -> None:
    """Remove a folder whose files may be write-protected, and change meanwhile."""
    for path, folders, _ in os.walk(folder):
        for name in folders:
            try:
                Path(path, name).chmod(0o755)
            except OSError:
                continue
    shutil.rmtree(folder, ignore_errors=True)


class StatusBranch:
    """What reading statuses needs of a site."""

    def __init__(self, remote: Path, branch: str) -> None:
        self.remote, self.branch = remote, branch


def mount(folder: Path, say: Callable[[str], None]) -> bool:
    """Give the folder a small disk of its own, if this user may."""
    if os.geteuid() == 0:
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}m", "soak", str(folder)]
        if run(command).returncode == 0:
            return True
    say("no disk is filled: that takes root, to mount a small one")
    return False
