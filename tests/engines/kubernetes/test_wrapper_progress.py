"""The container's log says how far the copies between disk and bucket are."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.engines.kubernetes.copies import read_progress
from reconciler.reasons import ReasonCode
from tests.engines.kubernetes.conftest import MakeContainer
from tests.engines.kubernetes.container import Running
from tests.engines.kubernetes.test_wrapper_rclone import QUIET, START, Rclone
from tests.patience import PATIENCE

OFTEN = {"RECONCILER_PROGRESS": "1"}
MIB = 1 << 20
#: A checkpoint of 1 MiB and one of 3 MiB.
CHECKPOINTS = (
    'cd "$MODEL_DIR"; head -c 1048576 /dev/zero >a; head -c 3145728 /dev/zero >b; ls; exit 1'
)


@pytest.fixture
def rclone() -> Iterator[Rclone]:
    with closing(Rclone()) as control:
        yield control


def line_of(running: Running, wanted: bytes) -> re.Match[bytes]:
    """The output up to a line, once it is there."""
    deadline = time.monotonic() + PATIENCE
    while (found := re.search(wanted, running.output.read_bytes())) is None:
        assert time.monotonic() < deadline, running.output.read_bytes()
        assert running.process.poll() is None, running.output.read_bytes()
    return found


def read_some(pipe: Path, size: int) -> int:
    """Open a pipe in a file's place and read so much; the copy then waits for more to be read."""
    handle = os.open(pipe, os.O_RDONLY)
    while size > 0:
        size -= len(os.read(handle, min(size, 65536)))
    return handle


def test_files_and_bytes_that_are_copied_out_are_said(pod: MakeContainer) -> None:
    container = pod(staged=True, env=OFTEN)
    container.bucket.mkdir(parents=True, exist_ok=True)
    os.mkfifo(container.bucket / "b")
    with container.shell(CHECKPOINTS) as running:
        handle = read_some(container.bucket / "b", int(1.44 * MIB))
        found = line_of(running, rb"\[reconciler\] copying 1 of 2 files, (\d+) %\n")
        os.close(handle)
    # A pipe holds a little more than what was read of it.
    assert 61 <= int(found[1]) <= 64
    reason = read_progress(found[0])
    assert reason is not None
    assert reason.code is ReasonCode.COPYING_OUT
    assert reason.arguments == {"done": 1, "files": 2, "percent": int(found[1])}


def test_what_an_earlier_attempt_left_is_said_while_it_is_restored(pod: MakeContainer) -> None:
    assert pod(staged=True).sh(CHECKPOINTS).code == 1
    container = pod(staged=True, env=OFTEN)
    assert container.stage is not None
    container.stage.mkdir(parents=True, exist_ok=True)
    os.mkfifo(container.stage / "b")
    with container.shell("echo ran it; sleep 60") as running:
        handle = read_some(container.stage / "b", 2 * MIB)
        found = line_of(running, rb"\[reconciler\] restoring 1 of 2 files, (\d+) %\n")
        while os.read(handle, 65536):
            pass
        os.close(handle)
        # So that the last line, by which a daemon goes, is not one of a copy that is over.
        line_of(running, rb"%\n\[reconciler\] what an earlier attempt left is restored\nran it\n$")
    reason = read_progress(found[0])
    assert reason is not None
    assert reason.code is ReasonCode.COPYING_IN


def test_files_that_rclone_has_not_uploaded_are_said(pod: MakeContainer, rclone: Rclone) -> None:
    container = pod(staged=True, rclone=rclone.address, env=OFTEN)
    quiet: list[int] = []

    def answer(number: int) -> dict[str, object]:
        if quiet or number <= START:
            return QUIET
        return QUIET | {"uploadsQueued": 2, "uploadsInProgress": 1}

    rclone.answer = answer
    with container.shell("echo 1 >$MODEL_DIR/w") as running:
        found = line_of(running, rb"\[reconciler\] uploading, 3 files left\n")
        quiet.append(1)
        assert running.wait().code == 0
    reason = read_progress(found[0])
    assert reason is not None
    assert reason.code is ReasonCode.UPLOADING


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"epoch 3 of 4 files, 61 %\n",
        b" [reconciler] copying 3 of 4 files, 61 %\n",
        b"[reconciler] copying 3 of 4 files, 61 %\nepoch 1\n",
        b"[reconciler] copying 3 of 4444444444444 files, 61 %\n",
        b"[reconciler] moving 3 of 4 files, 61 %\n",
        b"[reconciler] uploading, -1 files left\n",
    ],
)
def test_other_lines_say_nothing_of_copies(line: bytes) -> None:
    assert read_progress(line) is None
