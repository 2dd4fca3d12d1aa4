"""A training fills the disk of the local engine; later there is room."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.site import Site, until
from tests.needs import unavailable
from tests.processes import run


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "none", str(folder)]
    if os.geteuid() != 0 or run(mount).returncode != 0:
        unavailable("only root can mount a file system")
    yield folder
    run(["umount", "--lazy", str(folder)], check=True)


def test_a_training_that_fills_the_disk_is_logged_and_made_once_there_is_room(
    site: Site, disk: Path
) -> None:
    site.configure(local={"root": str(disk / "state")})
    full = site.root / "full"
    site.trained(
        "a",
        f'head -c 60000000 /dev/zero > "$MODEL_DIR/weights" || {{ touch {full}; exit 1; }}\n',
    )
    site.push()
    with site.running():
        until(full.exists, what="the command to find no room")
        until(lambda: "No space left" in site.log(), what="a log that says so")
        run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        until(lambda: site.phases() == {"a": "Ready"}, what="the training")
    assert site.ran() == {"a": 2}
    assert "Traceback" not in site.log()
