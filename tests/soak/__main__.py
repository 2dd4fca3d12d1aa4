"""``python -m tests.soak``: one soak, its steps and its figures on standard output."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from tests.cluster import lease
from tests.cluster.fixtures import Namespace
from tests.soak.arena import Arena
from tests.soak.cluster import ClusterArena
from tests.soak.local import LocalArena
from tests.soak.soak import Soak

#: Set in the process that has namespaces of its own.
_INSIDE = "SOAK_INSIDE"


@click.command()
@click.option("--engine", type=click.Choice(["local", "kubernetes"]), default="local")
@click.option("--minutes", type=float, default=60.0, show_default=True)
@click.option("--seed", type=int, default=None, help="By default one that is drawn, and printed.")
@click.option("--steps", type=int, default=40, show_default=True, help="Steps of a round.")
@click.option("--pace", type=float, default=2.5, show_default=True, help="Seconds between steps.")
@click.option("--folder", type=click.Path(path_type=Path), help="An empty one, to be kept.")
def main(
    engine: str, minutes: float, seed: int | None, steps: int, pace: float, folder: Path | None
) -> None:
    """Use and misuse a daemon by chance, and check what must hold."""
    if os.geteuid() == 0 and _INSIDE not in os.environ and shutil.which("unshare"):
        _within_namespaces()
    seed = secrets.randbelow(10**6) if seed is None else seed
    root = folder or Path(tempfile.mkdtemp(prefix="soak-"))
    root.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()

    def say(line: str) -> None:
        click.echo(f"{time.monotonic() - began:8.1f}  {line}")
        sys.stdout.flush()

    say(f"seed {seed}, {engine}, {minutes:g} minutes, in {root}")
    with arena(engine, root, say) as soaked:
        soak = Soak(soaked, seed=seed, pace=pace, say=say)
        try:
            while True:
                soak.disturb(steps)
                soak.calm()
                if time.monotonic() - began > minutes * 60:
                    break
        finally:
            soaked.close()
            click.echo(soak.report())
    if soaked.violations:
        sys.exit(1)
    if folder is None:
        shutil.rmtree(root)


@contextmanager
def arena(engine: str, root: Path, say: Callable[[str], None]) -> Iterator[Arena]:
    """A site of this engine; on Kubernetes with a control plane of its own."""
    if engine == "local":
        yield LocalArena(root, say)
        return
    with lease.control_plane(root / "cluster") as cluster:
        cluster.api.create("/api/v1/namespaces", {"metadata": {"name": "soak"}})
        yield ClusterArena(root, say, Namespace(cluster, "soak"))


def _within_namespaces() -> None:
    """Begin again where no mount and no process outlives this one."""
    own = [sys.executable, "-m", "tests.soak.reaper", sys.executable, "-m", "tests.soak"]
    flags = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    os.environ[_INSIDE] = "1"
    os.execvp("unshare", ["unshare", *flags, *own, *sys.argv[1:]])


if __name__ == "__main__":
    main(prog_name="python -m tests.soak")
