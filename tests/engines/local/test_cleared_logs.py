"""A command that clears its directory, or puts links there, loses and exposes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.engine import RunPhase
from reconciler.engines.local import logs
from reconciler.engines.local.logs import Output
from reconciler.engines.local.marker import read_try
from reconciler.types import TaskKind
from tests.engines.local.bench import Bench, until
from tests.engines.local.test_progress import REPORT, curves_of

TRY = {"local": True}
LINKS = {
    "logs": 'rm -rf "$MODEL_DIR/logs"; ln -s {} "$MODEL_DIR/logs"',
    "the artifact": 'rm -rf "$MODEL_DIR"; ln -s {} "$MODEL_DIR"',
}


@pytest.mark.parametrize(
    "clears",
    [
        'rm -rf "$MODEL_DIR"/*',
        'rm -rf "$MODEL_DIR"',
        'mv "$MODEL_DIR/logs" "$MODEL_DIR/mine"',
        'rm "$MODEL_DIR"/logs/*.log; mkdir -p "$MODEL_DIR/logs/attempt-1.log/deep"',
        'rm "$MODEL_DIR"/logs/*.log; mkfifo "$MODEL_DIR/logs/attempt-1.log"',
        'rm "$MODEL_DIR"/logs/*.log; echo mine > "$MODEL_DIR/logs/attempt-1.log"',
    ],
    ids=["content", "itself", "moved", "a folder", "a pipe", "another"],
)
async def test_an_attempt_that_clears_its_directory_keeps_its_log_and_number(
    bench: Bench, clears: str
) -> None:
    body = f'echo before; test "$ATTEMPT" = 1 || exit 0\n{clears}\necho after; exit 3'
    spec, run = await bench.carry_out(body, retries=1)
    assert (run.phase, run.attempts) == (RunPhase.SUCCEEDED, 2), run.reason
    assert (bench.artifact(spec) / "logs" / "attempt-1.log").is_file()
    first = "before\nafter\n[reconciler] run.sh ended with exit code 3\n"
    assert (bench.log(spec, 1), bench.log(spec, 2)) == (first, "before\n")


async def test_one_that_succeeds_keeps_its_log_too(bench: Bench) -> None:
    clears = 'echo before; rm -rf "$MODEL_DIR"/*; echo after'
    bad = 'echo \'{"accuracy": "high"}\' > "$MODEL_DIR/metrics.json"'
    spec = await bench.succeed(f"{clears}; {bad}")
    said = bench.log(spec)
    assert said.startswith("before\nafter\n[reconciler] metrics.json: ")
    assert (bench.artifact(spec) / "logs/attempt-1.log").stat().st_mode & 0o222 == 0


async def test_the_curves_of_a_cleared_directory_are_kept(bench: Bench) -> None:
    report = 'report \'{"step": 1, "metrics": {"loss": 2}}\''
    body = f'report() {{ {REPORT}; }}\n{report}\nrm -rf "$MODEL_DIR"/*; exit 1'
    await bench.carry_out(body)
    assert [point.value for point in curves_of(bench, "train").metrics["loss"]] == [2]


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
async def test_nothing_is_written_or_removed_behind_a_link_of_the_command(
    bench: Bench, link: str
) -> None:
    other = bench.folder / "other"
    (other / "logs").mkdir(parents=True)
    for name in ("completed.json", "model.sig"):
        (other / name).write_text("another's")
    before = sorted(other.rglob("*"))
    report = 'report \'{"step": 1, "metrics": {"loss": 2}}\''
    body = f"report() {{ {REPORT}; }}\n{link.format(other)}\n{report}\n{bench.wait}\nexit 1"
    async with bench.engine() as engine:
        spec = await bench.begin(body, engine, lineage=TRY)
        await until((bench.root / "runs" / spec.name / "progress.json").exists)
        bench.gate.touch()
        run = await bench.ended(engine, spec.name)
    assert run.phase is RunPhase.FAILED
    assert sorted(other.rglob("*")) == before
    assert bench.log(spec).startswith("[reconciler] run.sh ended with exit code 1")
    assert read_try(bench.artifact(spec)) is TaskKind.TRAIN
    assert not (bench.artifact(spec) / "logs").is_symlink()
    assert not bench.artifact(spec).is_symlink()


async def test_the_folder_of_a_try_that_succeeded_is_as_it_was_sealed(bench: Bench) -> None:
    spec = await bench.succeed('echo > "$MODEL_DIR/w"', lineage=TRY)
    artifact = bench.artifact(spec)
    assert read_try(artifact) is TaskKind.TRAIN
    assert [p for p in (artifact, *artifact.rglob("*")) if p.stat().st_mode & 0o222] == []


async def test_a_folder_in_the_place_of_the_note_of_a_try_is_cleared_away(bench: Bench) -> None:
    folder = 'rm "$MODEL_DIR/logs/try.json"; mkdir -p "$MODEL_DIR/logs/try.json/deep"; exit 1'
    spec, run = await bench.carry_out(folder, lineage=TRY, retries=1)
    assert (run.phase, run.attempts) == (RunPhase.FAILED, 2)
    assert read_try(bench.artifact(spec)) is TaskKind.TRAIN


def test_a_log_is_restored_in_pieces_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_PIECE", 1000)
    file = tmp_path / "logs" / "attempt-1.log"
    file.parent.mkdir()
    output = Output.create(file, limit=5000)
    output.write(data := os.urandom(4500))
    output.disk_full = True  # there was no room for a while
    file.unlink()
    output.restore()
    assert output.disk_full
    assert file.read_bytes() == data
    output.write(b"end")
    output.note("noted")
    output.restore()
    output.close()
    assert file.read_bytes() == data + b"end[reconciler] noted\n"


def test_a_log_is_not_restored_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "logs").mkdir()
    output = Output.create(tmp_path / "logs" / "attempt-1.log")
    (tmp_path / "logs").rename(tmp_path / "moved")
    (tmp_path / "logs").symlink_to("other")
    with pytest.raises(OSError, match="logs"):
        output.restore()
    output.close()
    assert list((tmp_path / "other").iterdir()) == []
