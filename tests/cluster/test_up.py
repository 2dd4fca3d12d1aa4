"""``make cluster``: what it says, and what it gives to a developer."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.site import git

ROOT = Path(__file__).resolve().parents[2]
_MODEL = """\
kind: Model
metadata: {name: m}
spec:
  source: {git: {url: ., path: code}}
  training: {mode: Scratch, command: [sh, -c, 'echo made > "$MODEL_DIR/weights"']}
"""


@contextmanager
def up(errors: Path) -> Iterator[str]:
    """What ``up`` prints once the cluster is there; it is ended as by Ctrl-C."""
    with errors.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.cluster", "up"],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert process.stdout is not None
    try:
        printed = ""
        while "Ctrl-C" not in printed:
            line = process.stdout.readline()
            assert line, errors.read_text()
            printed += line
        yield printed
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
        process.stdout.close()


@pytest.mark.cluster
def test_make_cluster_gives_a_configuration_and_a_remote_that_pods_reach(tmp_path: Path) -> None:
    with up(tmp_path / "errors") as printed:
        # Before all that takes time.
        assert (tmp_path / "errors").read_text().startswith("cluster: starting")
        _, _, rest = printed.partition("A reconciler.yaml:\n")
        clone = tmp_path / "clone"
        clone.mkdir()
        (clone / "reconciler.yaml").write_text(textwrap.dedent(rest.partition("\n\n")[0]))
        (busybox,) = re.findall(r"  busybox: (\S+)", printed)
        (clone / "code").mkdir()
        (clone / "code/Dockerfile").write_text(f'FROM {busybox}\nCMD ["true"]\n')
        (clone / "m.yaml").write_text(_MODEL)
        git(clone, "init", "--quiet", "--initial-branch=mine")
        git(clone, "add", "--all")
        git(clone, "commit", "--quiet", "--message", "A model")
        (push,) = re.findall(r"git (push http\S+ HEAD:main)", printed)
        git(clone, *push.split())
        (kubeconfig,) = re.findall(r"export KUBECONFIG=(\S+)", printed)
        # A pod fetches the source of the build, from the remote.
        done = subprocess.run(
            [sys.executable, "-m", "reconciler", "run", "--once"],
            cwd=clone, capture_output=True, text=True, check=False,
            env=os.environ | {"PYTHONPATH": str(ROOT), "KUBECONFIG": kubeconfig},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
