"""Logs are bounded, and reasons hold no secret."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from reconciler.engines.local.logs import Output
from tests.planted import ENCODERS, PLANTED, assert_without


def test_a_log_is_cut_at_its_limit_and_says_so(tmp_path: Path) -> None:
    output = Output.create(tmp_path / "log", limit=10)
    for _ in range(5):
        output.write(b"12345678")
    output.close()
    text = (tmp_path / "log").read_text()
    assert text.startswith("1234567812\n[reconciler] the log ends here")
    assert text.count("[reconciler]") == 1
    assert len(text) < 200


def test_a_log_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("an earlier attempt")
    with pytest.raises(FileExistsError):
        Output.create(tmp_path / "log")


def test_the_last_lines_are_one_readable_line_without_secrets(tmp_path: Path) -> None:
    output = Output.create(tmp_path / "log")
    output.write(b"first\n\x1b[31mError:\x1b[0m token s3cret\xff and line-one refused\r\n\n")
    assert (
        output.last_lines(1, [])
        == "Error: token s3cret\N{REPLACEMENT CHARACTER} and line-one refused"
    )
    said = output.last_lines(2, ["s3cret", "line-one\nline-two", "an"])
    assert said == "first / Error: token ***\N{REPLACEMENT CHARACTER} and *** refused"
    output.write(b"x" * 100_000)
    assert len(output.last_lines(1, [])) < 700
    output.close()


@pytest.mark.parametrize("command", ENCODERS.values(), ids=ENCODERS)
def test_a_secret_is_in_no_form_in_a_reason(tmp_path: Path, command: str) -> None:
    output = Output.create(tmp_path / "log")
    done = subprocess.run(
        ["sh", "-c", command], env={**os.environ, "TOKEN": PLANTED}, capture_output=True, check=True
    )
    output.write(done.stdout)
    said = output.last_lines(1, [PLANTED])
    output.close()
    assert said.startswith("said ")
    assert_without(PLANTED, said)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_remembered_and_stops_nothing() -> None:
    output = Output(os.open("/dev/full", os.O_WRONLY))
    output.write(b"lost\n")
    assert output.disk_full
    assert output.last_lines(1, []) == "lost"
    os.close(output.handle)
