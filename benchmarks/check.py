"""``make bench-check``: the figures of a run, compared with the reviewed ranges."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.ranges import (
    RANGES,
    DifferentMachineError,
    compare,
    ratios_of,
    read_ranges,
    read_run,
)


def main() -> None:
    """Print what is out of its range, and exit with 1; on another machine with 2."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check", description=main.__doc__)
    parser.add_argument("run", type=Path, metavar="FILE", help="of python -m benchmarks --json")
    chosen = parser.parse_args()
    run = read_run(chosen.run)
    try:
        out = list(compare(run, read_ranges(RANGES)))
    except DifferentMachineError as error:
        print(f"Not compared: {error}.")
        sys.exit(2)
    print(*out, sep="\n", end="\n" if out else "")
    print(f"{len(ratios_of(run))} figures, {len(out)} out of their ranges.")
    sys.exit(1 if out else 0)


if __name__ == "__main__":
    main()
