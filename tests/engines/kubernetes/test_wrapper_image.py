"""An image that holds one static program and nothing else; and the script's own form."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from reconciler.engines import kubernetes
from reconciler.engines.kubernetes.termination import read_termination
from reconciler.engines.local.marker import read_marker
from tests.engines.kubernetes.conftest import MakeContainer
from tests.engines.kubernetes.container import BUSYBOX, KEY, UNSHARE
from tests.needs import program
from tests.processes import run

SOURCE = Path(kubernetes.__file__).parent


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change its root directory")
@pytest.mark.parametrize("user", [0, 12345])
def test_an_image_of_one_static_program(pod: MakeContainer, tmp_path: Path, user: int) -> None:
    """No shell, no libc, a read-only root: /.reconciler and the bucket are all there is."""
    container = pod()
    root = tmp_path / "root"
    for name in ("proc", "dev", "model/saved", ".reconciler"):
        (root / name).mkdir(parents=True)
    (root / "dev/null").touch()
    (root / "dev/message").touch(0o666)
    (root / "dev/message").chmod(0o666)
    (root / "model/saved").chmod(0o777)
    shutil.copytree(container.home, root / ".reconciler", symlinks=True, dirs_exist_ok=True)
    (root / ".reconciler").chmod(0o777)
    shutil.copy(BUSYBOX, root / "touch")  # under this name busybox does nothing else
    env = container.variables() | {
        "RECONCILER_ARTIFACT": "/model/saved", "RECONCILER_TERMINATION": "/dev/message",
    }  # fmt: skip
    enter = f"""
        mount --bind {root} {root} && mount -o remount,bind,ro {root}
        mount --bind /dev/null {root}/dev/null
        for d in model/saved .reconciler dev/message; do
            mount --bind {tmp_path}/rw/$d {root}/$d
        done
        mount -t proc proc {root}/proc
        exec chroot --userspec={user}:{user} {root} \
            /.reconciler/busybox sh /.reconciler/wrapper.sh touch /model/saved/w
    """
    shutil.copytree(root, tmp_path / "rw", symlinks=True)
    (tmp_path / "rw/model/saved").chmod(0o777)
    (tmp_path / "rw/.reconciler").chmod(0o777)
    (tmp_path / "rw/dev/message").chmod(0o666)
    done = subprocess.run(
        [UNSHARE, "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", enter],
        env=env | {"PATH": os.environ["PATH"]},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done
    assert read_marker(tmp_path / "rw/model/saved", KEY) is not None
    said = read_termination((tmp_path / "rw/dev/message").read_text())
    assert said is not None
    assert said.attempt == 1


def test_shellcheck_has_nothing_to_say() -> None:
    # source.sh has no first line, as it is of another image.
    scripts = [file for file in SOURCE.glob("*.sh") if file.name != "source.sh"]
    done = run([program("shellcheck", package="shellcheck"), "-s", "sh", *scripts])
    assert done.stdout == ""
