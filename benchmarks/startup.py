"""How long commands take to start, beside an interpreter that does nothing.

Each round starts the bare interpreter and each command once, in turn. ``validate`` and ``plan``
work in a repository of ten manifests; of ``status`` and ``init`` only --help is called.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.repository import make

ROUNDS = 15
BARE = ("-c", "pass")
COMMANDS = {
    "--help": ("--help",),
    "validate": ("validate",),
    "plan": ("plan", "--base", "HEAD~1", "--head", "HEAD"),
    "status": ("status", "--help"),
    "init": ("init", "--help"),
}


def main() -> None:
    """Print a row for each command: the median, and what it is beyond the interpreter."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder, 10)
        every = {"(interpreter)": BARE} | {
            name: ("-m", "reconciler", *arguments) for name, arguments in COMMANDS.items()
        }
        times: dict[str, list[float]] = {name: [] for name in every}
        for _ in range(ROUNDS):
            for name, arguments in every.items():
                times[name].append(_timed(arguments, folder))
    bare = times["(interpreter)"]
    print(f"{'command':<14}{'ms':>7}{'min':>7}{'max':>7}{'beyond ms':>11}{'ratio':>7}")
    for name, taken in times.items():
        median = statistics.median(taken)
        beyond = statistics.median(a - b for a, b in zip(taken, bare, strict=True))
        print(
            f"{name:<14}{1000 * median:>7.0f}{1000 * min(taken):>7.0f}{1000 * max(taken):>7.0f}"
            f"{1000 * beyond:>11.0f}{median / statistics.median(bare):>7.1f}",
            flush=True,
        )


def _timed(arguments: tuple[str, ...], folder: Path) -> float:
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, check=False
    )
    if done.returncode not in (0, 2):
        raise SystemExit(done.stderr.decode())
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
