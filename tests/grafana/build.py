"""Builds the page that draws dashboards with Grafana's libraries, once, into the user's cache.

It lies under a key over everything that it is made of. It appears by a rename: what is there is
whole. ``python -m tests.grafana.build`` builds it; it needs Node 20 and npm.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.kept import user_cache

_HERE = Path(__file__).resolve().parent
_NPM = ("install", "--no-audit", "--no-fund", "--no-package-lock", "--legacy-peer-deps")


def built() -> Path | None:
    """The folder of the page, if it was built."""
    folder = _place()
    return folder if folder.is_dir() else None


def build() -> Path:
    """Build the page where it is not there yet; returns its folder.

    Raises RuntimeError where Node is missing or its commands fail.
    """
    folder = _place()
    if folder.is_dir():
        return folder
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise RuntimeError(f"{program} is not installed: apt-get install nodejs npm")
    work = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    try:
        work.mkdir(parents=True)
        for source in _sources():
            target = work / source.relative_to(_HERE)
            target.parent.mkdir(exist_ok=True)
            shutil.copy(source, target)
        _run("installing Grafana's libraries, 0.5 GB for the build alone", "npm", *_NPM, at=work)
        _run("bundling them", "node", "build.mjs", at=work)
        (work / "dist").rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _run(what: str, *command: str, at: Path) -> None:
    sys.stderr.write(f"grafana: {what} ...\n")
    began = time.monotonic()
    done = subprocess.run(command, cwd=at, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    sys.stderr.write(f"grafana: took {time.monotonic() - began:.0f} s\n")


def _place() -> Path:
    key = hashlib.sha256()
    for source in _sources():
        key.update(f"{source.relative_to(_HERE)}\0".encode() + source.read_bytes())
    return (user_cache() / "model-reconciler" / "grafana" / key.hexdigest()[:20]).absolute()


def _sources() -> list[Path]:
    return [
        *(_HERE / name for name in ("package.json", "build.mjs", "index.html")),
        *sorted((_HERE / "src").iterdir()),
    ]


if __name__ == "__main__":
    try:
        build()
    except RuntimeError as error:
        sys.exit(str(error))
