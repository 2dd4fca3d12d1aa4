"""The start of commands, beside that of the packages which they cannot do without.

Each round starts the packages and each command, once and in turn. Commands work in a repository of
ten manifests with a configuration file, of which the second commit changes one, and whose status
branch has a status of each.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.repository import make

ROUNDS = 9
PACKAGES = "click, pydantic and pygit2 alone"
IMPORTS = "import click, pydantic, pygit2; pydantic.BaseModel, pydantic.Field"
COMMANDS = {
    "--help": ("--help",),
    "init": ("init", "new-{round}"),
    "validate": ("validate",),
    "status": ("status",),
    "plan": ("plan", "--base", "HEAD~1", "--head", "HEAD"),
}


def measure() -> Iterator[Figure]:
    """Yield a figure for each command."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder, 10)
        (folder / "reconciler.yaml").write_text("repository: {url: .}\n")
        times = _measure(folder)
    for name in COMMANDS:
        yield Figure(
            name=f"start.{name.strip('-')}",
            title=f"start of {name}",
            baseline=PACKAGES,
            unit="s",
            rounds=list(zip(times[name], times[PACKAGES], strict=True)),
        )


def _measure(folder: Path) -> Mapping[str, list[float]]:
    """Call everything once for its bytecode, then time it."""
    every: dict[str, tuple[str, ...]] = {PACKAGES: ("-c", IMPORTS)}
    every |= {name: ("-m", "reconciler", *arguments) for name, arguments in COMMANDS.items()}
    times: dict[str, list[float]] = {name: [] for name in every}
    for number in range(ROUNDS + 1):
        for name, arguments in every.items():
            taken = _timed([each.format(round=number) for each in arguments], folder)
            if number:
                times[name].append(taken)
    return times


def _timed(arguments: list[str], folder: Path) -> float:
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=variables, capture_output=True, check=False
    )
    taken = time.perf_counter() - start
    if done.returncode not in (0, 2):
        raise SystemExit(done.stderr.decode())
    return taken
