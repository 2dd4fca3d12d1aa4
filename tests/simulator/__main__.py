"""``python -m tests.simulator``: one simulation or many, and their figures."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import click

#: What a set of strings begins with, and so whatever depends on its order.
_HASHES = "PYTHONHASHSEED"


@click.command()
@click.option("--seed", type=int, default=0, show_default=True, help="The first seed.")
@click.option("--seeds", type=int, default=1, show_default=True, help="How many, from the first.")
@click.option("--steps", type=int, default=1000, show_default=True, help="Of each seed.")
@click.option("--mutation", help="Plant this fault first.")
@click.option("--verbose", is_flag=True, help="Print everything that happens.")
def main(seed: int, seeds: int, steps: int, mutation: str | None, verbose: bool) -> None:
    """Simulate the daemon, and check what must hold. Exits with 1 at a violation."""
    if os.environ.get(_HASHES) != "0":
        environment = {**os.environ, _HASHES: "0"}
        command = [sys.executable, "-m", "tests.simulator", *sys.argv[1:]]
        os.execve(sys.executable, command, environment)
    from tests.simulator.mutations import planted  # after the seed of hashes is set
    from tests.simulator.simulation import simulate

    figures: Counter[str] = Counter()
    began, done, failed = time.perf_counter(), 0, False
    for number in range(seed, seed + seeds):
        folder = tempfile.TemporaryDirectory(prefix="simulator-", dir=_disk())
        with folder as root, planted(mutation):
            report = simulate(number, steps, Path(root), click.echo if verbose else None)
        figures += report.figures
        done += report.steps
        click.echo(
            f"seed {number}: {report.steps} steps, {report.virtual / 3600:.1f} hours, "
            f"trace {report.trace[:16]}"
        )
        if report.violation is not None:
            failed = True
            click.echo("\n".join(report.lines))
            click.echo(f"seed {number}, step {report.steps}: {report.violation}")
            click.echo(f"again: python -m tests.simulator --seed {number} --steps {steps}")
            break
    for name, count in sorted(figures.items()):
        click.echo(f"  {name}: {count}")
    click.echo(f"{done} steps in {time.perf_counter() - began:.1f} s")
    sys.exit(failed)


def _disk() -> str | None:
    """A folder in memory, where there is one."""
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() and os.access(shared, os.W_OK) else None


if __name__ == "__main__":
    main(prog_name="python -m tests.simulator")
