"""kill -9 of the daemon, and of supervisors, at random points."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from reconciler.engine import FailureClass, RunPhase
from reconciler.engines.local.marker import read_marker
from tests.engines.local.bench import Bench, key_of, running, script, until
from tests.engines.local.victim import FAILING, RUNS
from tests.patience import PATIENCE

ROUNDS = 20
REPOSITORY = Path(__file__).parents[3]


def using(root: Path) -> list[int]:
    """The processes that were given something of this root as an argument."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if str(root) in " ".join(process.info["cmdline"] or []) and running(process.pid)
    ]


def victim(folder: Path) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "tests.engines.local.victim", str(folder)]
    with (folder / "victim.log").open("ab") as log:
        return subprocess.Popen(argv, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=log)


@pytest.mark.slow("starts and kills an engine again and again, with a process for each run")
def test_a_daemon_killed_at_random_points_has_every_command_run_exactly_once(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path)
    source = bench.source(
        {
            "run.sh": script(
                'echo "$PARAM_N" >> "$RAN"\nsleep 0.1\necho out > "$MODEL_DIR/w"\n'
                'test "$PARAM_FAIL" = false'
            )
        }
    )
    assert source == tmp_path / "source-0"
    chance = random.Random(4)
    for _ in range(ROUNDS):
        with victim(tmp_path) as process:
            assert process.stdout is not None
            assert b"started\n" in process.stdout, (tmp_path / "victim.log").read_text()
            time.sleep(chance.uniform(0, 0.35))  # where the kill falls is left to chance
            process.kill()
    with victim(tmp_path) as process:
        code = process.wait(PATIENCE)
    assert code == 0, (tmp_path / "victim.log").read_text()
    ran = Counter(int(line) for line in (tmp_path / "ran").read_text().split())
    assert ran == {n: 2 if n in FAILING else 1 for n in range(RUNS)}
    for n in range(RUNS):
        key = key_of(f"run-{n}")
        marker = read_marker(tmp_path / "bucket" / f"run-{n}" / key, key)
        assert (marker is None) == (n in FAILING)
    left = sorted(path.name.split("-t-")[0] for path in (tmp_path / "root" / "runs").iterdir())
    assert [name for name in left if name.startswith("r-run")] == sorted(
        f"r-run-{n}" for n in FAILING
    )


@pytest.mark.slow("kills the supervisors of six runs, whose commands go on for seconds")
@pytest.mark.skipif(shutil.which("flock") is None, reason="needs flock(1) to see an overlap")
async def test_supervisors_killed_at_random_points_never_let_two_commands_run_at_once(
    bench: Bench,
) -> None:
    overlap, pids, started = (bench.folder / name for name in ("overlap", "pids", "started"))
    body = (
        f"touch {started}\n"
        f"exec 9> {bench.folder}/lock\n"
        f'flock -n 9 || echo "$ATTEMPT" >> {overlap}\n'
        # The child keeps the lock of the test but not that of the engine, and outlives a shell
        # that is killed.
        f'python3 -c \'import subprocess; subprocess.run(["sleep", "2.5"], pass_fds=[9])\'\n'
        f'echo "$ATTEMPT" >> {pids}'
    )
    chance = random.Random(5)
    lost = 0
    async with bench.engine() as engine:
        image = await bench.image(engine, {"run.sh": script(body)})
        spec = bench.spec(image)
        for _ in range(6):
            await engine.create(spec)
            await until(lambda: using(bench.root / "runs" / spec.name))
            # The first kill falls on a command that runs: a run that is killed before that is only
            # started again. Where the others fall is left to chance.
            await until(started.exists)
            await asyncio.sleep(chance.uniform(0, 0.6))
            for pid in using(bench.root / "runs" / spec.name):
                with contextlib.suppress(
                    ProcessLookupError
                ):  # what stands between it and its command
                    os.kill(pid, signal.SIGKILL)
            run = await bench.ended(engine, spec.name)
            if run.phase is RunPhase.SUCCEEDED:
                break
            assert run.failure is FailureClass.INFRASTRUCTURE, run.reason
            lost += 1
            await engine.delete(spec.name)
            await until(lambda: spec.name not in engine.runs())
        run = await bench.complete(engine, spec)
    assert run.phase is RunPhase.SUCCEEDED, run.reason
    assert lost
    assert not overlap.exists()
    await until(lambda: not using(bench.root))
