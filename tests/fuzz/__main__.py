"""``python -m tests.fuzz``: a search by coverage, in each target or in the named ones."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile

import click

from tests.fuzz.targets import TARGETS


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(sorted(TARGETS)))
@click.option("--seconds", type=int, default=60, show_default=True, help="Of each target.")
def main(names: tuple[str, ...], seconds: int) -> None:
    """Search for inputs that a parser cannot take."""
    if importlib.util.find_spec("atheris") is None:
        raise click.ClickException(
            "atheris is missing: make fuzz installs it, where it has a wheel"
        )
    codes = {name: _search(name, seconds) for name in names or TARGETS}
    defects = [name for name, code in codes.items() if code != 0]
    if defects:
        raise click.ClickException(f"defects are found in: {', '.join(defects)}")


def _search(name: str, seconds: int) -> int:
    """Search in one target, in a process of its own, as the search ends its process."""
    click.echo(f"== {name}, {seconds} s")
    with tempfile.TemporaryDirectory() as folder:
        search = [sys.executable, "-m", "tests.fuzz.search", name, folder]
        return subprocess.run([*search, f"-max_total_time={seconds}"], check=False).returncode


if __name__ == "__main__":
    main()
