"""The time that commands take to start and finish, beside an interpreter that does nothing.

Each round starts the bare interpreter, the packages that commands cannot do without, and each
command, once and in turn. Commands work in a repository of ten manifests with a configuration
file, of which the second commit changes one, and whose status branch has a status of each.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.repository import make

ROUNDS = 15
BARE = "(interpreter)"
#: What each command costs at least: `--help` needs the first, `validate` and `plan` the first
#: three, `status` all of them.
PACKAGES = {
    "(click)": "import click",
    "(+ pydantic)": "import click, pydantic; pydantic.BaseModel, pydantic.Field",
    "(+ pygit2)": "import click, pydantic, pygit2; pydantic.BaseModel, pydantic.Field",
    "(+ rich)": "import click, pydantic, pygit2, rich.console; pydantic.BaseModel, pydantic.Field",
}
COMMANDS = {
    "--help": ("--help",),
    "init": ("init", "new-{round}"),
    "validate": ("validate",),
    "status": ("status",),
    "plan": ("plan", "--base", "HEAD~1", "--head", "HEAD"),
}


def main() -> None:
    """Print a row for each command: the median, and what it is beyond the interpreter."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder, 10)
        (folder / "reconciler.yaml").write_text("repository: {url: .}\n")
        times = _measure(folder)
    bare = times[BARE]
    print(f"{'command':<14}{'ms':>7}{'min':>7}{'max':>7}{'beyond ms':>11}{'ratio':>7}")
    for name, taken in times.items():
        median = statistics.median(taken)
        beyond = statistics.median(a - b for a, b in zip(taken, bare, strict=True))
        print(
            f"{name:<14}{1000 * median:>7.0f}{1000 * min(taken):>7.0f}{1000 * max(taken):>7.0f}"
            f"{1000 * beyond:>11.0f}{median / statistics.median(bare):>7.1f}",
            flush=True,
        )


def _measure(folder: Path) -> Mapping[str, list[float]]:
    """Call everything once for its bytecode, then time it."""
    every: dict[str, tuple[str, ...]] = {BARE: ("-c", "pass")}
    every |= {name: ("-c", code) for name, code in PACKAGES.items()}
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


if __name__ == "__main__":
    main()
