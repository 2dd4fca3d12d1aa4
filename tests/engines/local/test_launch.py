"""A process begins only once it is known, and a supervisor starts without the daemon's weight."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from tests.engines.local.bench import running, until
from tests.processes import run

REPOSITORY = Path(__file__).parents[3]


def test_a_command_whose_supervisor_dies_before_it_is_known_never_runs(
    tmp_path: Path,
) -> None:
    mark = tmp_path / "mark"
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from reconciler.engines.local.launch import RankCommand, launch\n"
        f"command = RankCommand(argv=('touch', {str(mark)!r}), cwd=Path('/'), env={{}})\n"
        "print(launch(command, ()).identity.pid, flush=True)\n"
        "sys.stdin.read()\n"
        "os._exit(0)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        assert running(pid)
        assert not mark.exists()
    asyncio.run(until(lambda: not running(pid)))
    assert not mark.exists()


def test_a_supervisor_imports_nothing_that_is_slow_to_import() -> None:
    code = "import sys, reconciler.engines.local.supervisor; print(*sys.modules)"
    done = run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "reconciler" in loaded
    assert loaded & {"asyncio", "pydantic", "pygit2", "structlog", "ruamel", "aiohttp"} == set()
