"""``make bench``: every figure a ratio to a baseline of the same run."""

from __future__ import annotations

import argparse
import logging
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import structlog

from benchmarks import (
    argocd,
    commands,
    dependents,
    idle,
    job_end,
    many_events,
    many_finished,
    many_jobs,
    metrics,
    one_change,
    push_to_job,
    second_build,
    staged_copies,
    startup,
    status_push,
    takeover,
)
from benchmarks.figures import HEADER, Figure, dump_figures, machine, row, write_figures

#: By the beginning of their figures' names, the short ones first.
PARTS: Mapping[str, Callable[[], Iterator[Figure]]] = {
    "start": startup.measure,
    "metrics": metrics.measure,
    "status": status_push.measure,
    "commands": commands.measure,
    "dependents": dependents.measure,
    "push": push_to_job.measure,
    "jobs": many_jobs.measure,
    "events": many_events.measure,
    "finished": many_finished.measure,
    "idle": idle.measure,
    "takeover": takeover.measure,
    "change": one_change.measure,
    "copies": staged_copies.measure,
    "end": job_end.measure,
    "build": second_build.measure,
}
#: Measured where they are named alone: they take up to half an hour each, and disk, memory or Go.
LONG_PARTS: Mapping[str, Callable[[], Iterator[Figure]]] = {
    "change-100000": one_change.measure_most,
    "argocd": argocd.measure,
    "copies-full": staged_copies.measure_full,
}


def main() -> None:
    """Print a table; with ``--json FILE``, write the figures there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    every = {**PARTS, **LONG_PARTS}
    named = f"of {', '.join(PARTS)}, which are the default, and {', '.join(LONG_PARTS)}"
    parser.add_argument("parts", nargs="*", metavar="PART", help=named)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    chosen = parser.parse_args()
    for part in chosen.parts:
        if part not in every:
            parser.error(f"there is no part {part}; there are {', '.join(every)}")
    # What the product logs in this process is none of the table.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    here = machine()
    print(f"{here['cores']} cores, {here['memoryGiB']} GiB, Python {here['python']}", flush=True)
    print(HEADER, flush=True)
    figures = list[Figure]()
    for part in chosen.parts or PARTS:
        for figure in every[part]():
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


if __name__ == "__main__":
    main()
