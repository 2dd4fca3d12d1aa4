"""Both engines name the same cause, in the same words, where a command cannot start or dies."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.engine import FailureClass, RunPhase
from reconciler.engines.local.failures import CommandError
from reconciler.engines.local.process_workload import oom_kills
from reconciler.engines.local.program import find_program
from reconciler.reasons import ReasonCode, message
from tests.engines.kubernetes.conftest import MakeContainer
from tests.engines.kubernetes.container import Ended
from tests.engines.local.bench import Bench, reason

BOM = b"\xef\xbb\xbf"
#: The beginning of a program that is linked against a C library of another system.
FOREIGN = b"\x7fELF" + b"\0" * 60 + b"\0/lib/ld-musl-none.so.1\0" + b"\0" * 60
CAUSES: list[tuple[bytes, int, ReasonCode]] = [
    (b"#!/bin/sh\r\necho x\r\n", 0o755, ReasonCode.WINDOWS_LINE_ENDS),
    (b"#!/usr/bin/env bash\r\necho x\r\n", 0o755, ReasonCode.WINDOWS_LINE_ENDS),
    (BOM + b"#!/bin/sh\necho x\n", 0o755, ReasonCode.BYTE_ORDER_MARK),
    (b"#!/no/such/shell\n", 0o755, ReasonCode.INTERPRETER_MISSING),
    (b"#!/no/such/shell -e\n", 0o755, ReasonCode.INTERPRETER_MISSING),
    (b"#!/usr/bin\n", 0o755, ReasonCode.INTERPRETER_MISSING),
    (b"#! \0", 0o755, ReasonCode.INTERPRETER_MISSING),
    (b"#!\n", 0o755, ReasonCode.INTERPRETER_MISSING),
    (b"#!/usr/bin/env python-none\n", 0o755, ReasonCode.INTERPRETER_MISSING),
    (b"#!/usr/bin/env sh -e\n", 0o755, ReasonCode.INTERPRETER_MISSING),
    (b"#! /usr/bin/env\t-S A=1 python-none -u\n", 0o755, ReasonCode.INTERPRETER_MISSING),
    (b"echo x\n", 0o755, ReasonCode.INTERPRETER_LINE_MISSING),
    (b"", 0o755, ReasonCode.INTERPRETER_LINE_MISSING),
    (FOREIGN, 0o755, ReasonCode.LOADER_MISSING),
    (b"#!/bin/sh\n", 0o644, ReasonCode.COMMAND_NOT_EXECUTABLE),
]


def local_cause(name: str, folder: Path, path: str = "/bin") -> tuple[ReasonCode, str]:
    with pytest.raises(CommandError) as caught:
        find_program(name, folder, path)
    assert caught.value.failure is FailureClass.COMMAND
    return caught.value.reason.code, message(caught.value.reason)


def cluster_cause(ended: Ended) -> tuple[ReasonCode | None, str]:
    said = ended.termination
    assert (ended.code, said.failure, said.began) == (127, FailureClass.COMMAND, False)
    return said.reason, said.message


@pytest.mark.parametrize(("content", "mode", "code"), CAUSES)
def test_a_command_that_cannot_start(
    pod: MakeContainer,
    content: bytes,
    mode: int,
    code: ReasonCode,
) -> None:
    container = pod(env={"PATH": "/bin"})
    file = container.workdir / "train.sh"
    file.write_bytes(content)
    file.chmod(mode)
    found = local_cause("train.sh", container.workdir)
    assert found[0] is code
    assert cluster_cause(container.run("train.sh")) == found


@pytest.mark.parametrize("name", ["train.sh", "bin/train.sh", "/no/such", "python train.py"])
def test_a_command_that_is_not_there(pod: MakeContainer, name: str) -> None:
    container = pod(env={"PATH": "/bin"})
    found = local_cause(name, container.workdir)
    assert found[0] is ReasonCode.COMMAND_NOT_FOUND
    assert cluster_cause(container.run(name)) == found


@pytest.mark.parametrize(
    "line",
    ["#!/bin/sh", "#! /bin/sh -e", "#!/usr/bin/env sh", "#!/usr/bin/env -S A=1 sh -e",
     "#!/usr/bin/env /bin/sh", "#!./sh"],
)  # fmt: skip
def test_a_first_line_that_is_right_starts(pod: MakeContainer, line: str) -> None:
    container = pod(env={"PATH": "/bin"})
    shutil.copy("/bin/sh", container.workdir / "sh")
    file = container.workdir / "train.sh"
    file.write_text(f"{line}\necho it ran\n")
    file.chmod(0o755)
    assert find_program("train.sh", container.workdir, "/bin") == str(file)
    assert container.run("train.sh").output.startswith(b"it ran\n")


@pytest.fixture
def noexec(tmp_path: Path) -> Iterator[Path]:
    """A file system that is mounted noexec."""
    folder = tmp_path / "noexec"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "noexec", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_command_on_a_noexec_mount(pod: MakeContainer, noexec: Path) -> None:
    container = pod(env={"PATH": "/bin"})
    container.workdir = noexec / "source"
    container.workdir.mkdir()
    file = container.workdir / "train.sh"
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    found = local_cause("train.sh", container.workdir)
    assert found == (
        ReasonCode.NOEXEC_MOUNT,
        f"train.sh is on {noexec}, which is mounted noexec: no file there can be executed",
    )
    assert cluster_cause(container.run("train.sh")) == found


ENDS: list[tuple[str, str]] = [
    ("exit 7", "run.sh ended with exit code 7"),
    ("exit 255", "run.sh ended with exit code 255"),
    ("exit 193", "run.sh ended with exit code 193"),
    (
        "sh -c 'kill -9 $$'; exit $?",
        "run.sh, or a process that it started, was killed by SIGKILL, perhaps for want of memory",
    ),
    (
        "kill -9 $$",
        "run.sh, or a process that it started, was killed by SIGKILL, perhaps for want of memory",
    ),
    ("kill -SEGV $$", "run.sh, or a process that it started, was killed by SIGSEGV"),
]


@pytest.mark.parametrize(("body", "said"), ENDS)
async def test_a_command_that_dies(
    bench: Bench,
    pod: MakeContainer,
    body: str,
    said: str,
) -> None:
    _, run = await bench.carry_out(body)
    assert (run.phase, run.failure) == (RunPhase.FAILED, FailureClass.COMMAND)
    assert run.reason is not None
    container = pod(env={"PATH": "/usr/bin:/bin"})
    file = container.workdir / "run.sh"
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    ended = container.run("run.sh").termination
    assert ended.reason is run.reason.code is ReasonCode.COMMAND_FAILED
    assert ended.message == said
    assert reason(run) == (f"{said}: {ended.last}" if ended.last else said)


async def test_a_script_with_windows_line_ends_that_a_shell_runs(
    bench: Bench,
    pod: MakeContainer,
) -> None:
    files = {"train.txt": "set -e\r\nfalse\r\n"}
    async with bench.engine() as engine:
        image = await bench.image(engine, files)
        spec = bench.spec(image, command=("sh", "train.txt"))
        await engine.create(spec)
        run = await bench.ended(engine, spec.name)
    container = pod(env={"PATH": "/bin"})
    (container.workdir / "train.txt").write_bytes(files["train.txt"].encode())
    ended = container.run("sh", "train.txt").termination
    assert "; train.txt has Windows line ends" in reason(run)
    assert reason(run).startswith(ended.message)


@pytest.mark.parametrize(
    "files",
    [
        {"own": "0::/a/b\n", "cgroups/a/b/memory.events": "oom 5\noom_kill 3\n"},
        {
            "own": "8:cpu:/x\n4:memory:/a\n0::/\n",
            "cgroups/memory/a/memory.oom_control": "oom_kill_disable 0\noom_kill 3\n",
        },
        {"own": "0::/gone\n", "vmstat": "pgfault 9\noom_kill 3\n"},
        {"vmstat": "oom_kill 3\n"},
    ],
    ids=["version 2", "version 1", "root", "no cgroups"],
)
def test_the_kernels_kills_for_want_of_memory_are_counted(
    tmp_path: Path, files: dict[str, str]
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    places = {"own": tmp_path / "own", "cgroups": tmp_path / "cgroups"}
    assert oom_kills(**places, machine=tmp_path / "vmstat") == 3


def test_a_machine_that_counts_no_kills_has_none(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert oom_kills(own=gone, cgroups=gone, machine=gone) == 0
