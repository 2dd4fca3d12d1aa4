"""Whose fault a build's failure is, by what BuildKit says; of networks it does on bad days only."""

from __future__ import annotations

import json
import os
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from reconciler.engines.kubernetes.termination import read_termination
from reconciler.engines.local.build import lfs_warning
from tests.patience import PATIENCE

SCRIPT = resources.files("reconciler.engines.kubernetes").joinpath("buildkit.sh").read_text()
#: As buildctl does: BuildKit is up, the tag is not there, and the build ends with a line.
BUILDCTL = """#!/bin/sh
case "$*" in debug*) exit 0 ;; *probe*) exit 1 ;; esac
if [ -n "${PUSHED:-}" ]; then
  while [ "$1" != --metadata-file ]; do shift; done
  printf '{"containerimage.digest": "%s"}' "$PUSHED" >"$2"
  exit 0
fi
echo "$REASON"
exit 1
"""
HEAD = 'failed to resolve source metadata: failed to do request: Head "https://registry.test/v2/": '


def ended(folder: Path, context: Path = Path("/context"), **env: str) -> tuple[int, str]:
    """The exit code of a build, and its message to the kubelet."""
    programs = folder / "bin"
    programs.mkdir()
    for name, text in {"buildctl": BUILDCTL, "buildkitd": "#!/bin/sh\n"}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    said = folder / "termination-log"
    script = SCRIPT.replace("/tmp/", f"{folder}/").replace("/dev/termination-log", str(said))
    state = {"STATE": str(folder / "state"), "BUILDKITD_CONFIG": "", **env}
    done = subprocess.run(
        ["sh", "-c", script, "buildkit", "registry.test/a:1", context],
        env={"PATH": f"{programs}:{os.environ['PATH']}", **state},
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    return done.returncode, said.read_text()


def build(folder: Path, reason: str) -> tuple[int, str, str]:
    """The exit code of a build that BuildKit ends so, and its class and reason for the kubelet."""
    code, said = ended(folder, REASON=reason)
    message = json.loads(said)
    return code, message["class"], message["reason"]


@pytest.mark.parametrize("pointers", [0, 1, 5])
def test_a_source_with_git_lfs_pointers_is_told(tmp_path: Path, pointers: int) -> None:
    context = tmp_path / "context"
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4' * 64}\nsize 12345\n"
    files = {f'weights/{n} "a".bin': pointer for n in range(pointers)} | {"b": "version 1\n"}
    for name, text in files.items():
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).write_text(text)
    code, said = ended(tmp_path, context, PUSHED=f"sha256:{'1' * 64}")
    found = read_termination(said)
    assert code == 0
    assert found is not None
    warning = lfs_warning(context)
    assert found.warnings == (() if warning is None else (warning,))
    assert bool(found.warnings) == bool(pointers)


@pytest.mark.parametrize("trouble", ["EOF", "context deadline exceeded", "net/http: timeout"])
def test_a_registry_that_does_not_answer_is_not_the_build_s_fault(
    tmp_path: Path, trouble: str
) -> None:
    ended = build(tmp_path, f"error: failed to solve: {HEAD}{trouble}")
    assert ended == (210, "infrastructure", "InfrastructureFailed")


@pytest.mark.parametrize(
    "reason",
    [
        'process "sh -c echo failed to do request" did not complete successfully: exit code: 1',
        "registry.test/nobody: not found",
        "dockerfile parse error on line 1: unknown instruction: FRM",
    ],
)
def test_a_dockerfile_s_failure_is_the_build_s_own(tmp_path: Path, reason: str) -> None:
    ended = build(tmp_path, f"error: failed to solve: {reason}")
    assert ended == (1, "command", "BuildFailed")
