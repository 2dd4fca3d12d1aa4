"""Packages for pods, which reach nothing outside: a package index, and an environment to mount."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests import processes
from tests.kept import made_once
from tests.servers import Serving


@contextmanager
def package_index(address: str, *requirements: Path, python: str = "") -> Iterator[str]:
    """The URL of an index that has what these files name, and what that needs.

    ``python`` is the version that it is for, such as 3.11: by default the tests' own.
    """
    name = f"wheels-{python}" if python else "wheels"
    folder = made_once(name, requirements, partial(_download, requirements, python))
    serving = Serving()
    serving.serve(ThreadingHTTPServer((address, 0), partial(QuietFiles, directory=folder)))
    with closing(serving):
        yield f"http://{address}:{serving.port}/"


def environment(name: str, requirements: Path) -> Path:
    """An environment of this machine's Python with what a file names, kept between runs."""
    return made_once(name, (requirements,), partial(_install, requirements))


def mounted(packages: Path) -> dict[str, Any]:
    """A pod template with an environment, at the path where it is here."""
    path = f"{packages}/bin:/usr/local/bin:/usr/bin:/bin"
    mount = {"name": "packages", "mountPath": str(packages), "readOnly": True}
    container = {
        "name": "main",
        "env": [{"name": "PATH", "value": path}],
        "volumeMounts": [mount],
    }
    volume = {"name": "packages", "hostPath": {"path": str(packages)}}
    return {"spec": {"volumes": [volume], "containers": [container]}}


class QuietFiles(SimpleHTTPRequestHandler):
    """Lists folders, and writes no line for each request."""

    def log_message(self, *_: Any) -> None:
        pass


def _download(requirements: Iterable[Path], python: str, folder: Path) -> None:
    """A folder for each project with its wheels."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"]
    if python:
        command.append(f"--python-version={python}")
    for file in requirements:
        subprocess.run([*command, "--dest", folder, "-r", file], check=True)
    for wheel in list(folder.glob("*.whl")):
        project = re.sub(r"[-_.]+", "-", wheel.name.split("-")[0]).lower()
        (folder / project).mkdir(exist_ok=True)
        wheel.rename(folder / project / wheel.name)


def _install(requirements: Path, folder: Path) -> None:
    uv = [sys.executable, "-m", "uv", "--quiet"]
    python = folder / "bin" / "python"
    venv: list[str | Path] = [
        "venv",
        "--relocatable",
        "--allow-existing",
        "--python",
        sys.executable,
        folder,
    ]
    install: list[str | Path] = ["pip", "install", "--python", python, "-r", requirements]
    for arguments in (venv, install):
        done = processes.run([*uv, *arguments])
        assert done.returncode == 0, done.stderr
