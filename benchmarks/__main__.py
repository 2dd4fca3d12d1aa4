"""``make bench``: every figure a ratio to a baseline of the same run."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks import (
    commands,
    many_jobs,
    metrics,
    one_change,
    push_to_job,
    startup,
    takeover,
)
from benchmarks.figures import HEADER, Figure, dump_figures, machine, row, write_figures

#: By the beginning of their figures' names, the short ones first.
PARTS: Mapping[str, Callable[[], Iterator[Figure]]] = {
    "start": startup.measure,
    "metrics": metrics.measure,
    "commands": commands.measure,
    "push": push_to_job.measure,
    "jobs": many_jobs.measure,
    "takeover": takeover.measure,
    "change": one_change.measure,
}


def main() -> None:
    """Print a table; with ``--json FILE``, write the figures there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    chosen = parser.parse_args()
    for part in chosen.parts:
        if part not in PARTS:
            parser.error(f"there is no part {part}; there are {', '.join(PARTS)}")
    here = machine()
    print(f"{here['cores']} cores, {here['memoryGiB']} GiB, Python {here['python']}", flush=True)
    print(HEADER, flush=True)
    figures = list[Figure]()
    for part in chosen.parts or PARTS:
        for figure in PARTS[part]():
            print(row(figure), flush=True)
            figures.append(figure)
    if chosen.json is not None:
        write_figures(chosen.json, dump_figures(figures, _commit()))


def _commit() -> str:
    """Return the commit that is checked out, with + for changes."""
    told = [
        subprocess.run(["git", *what], capture_output=True, text=True, check=False).stdout.strip()
        for what in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain"))
    ]
    return told[0] + ("+" if told[1] else "")


main()
