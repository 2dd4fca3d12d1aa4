"""Debian for a Dockerfile: a base image, and a mirror beside it.

Pods of the tests reach nothing outside. The packages are those that this machine's apt gets, at
their versions of today; they are kept, as are the programs of the cluster. mmdebstrap makes of them
what the Dockerfile's own base is but for its origin: a small Debian with Python, whose apt and pip
know where a company's mirrors are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

from tests import needs
from tests.cluster.images import Image
from tests.e2e.packages import QuietFiles, package_index
from tests.kept import made_once
from tests.processes import run
from tests.servers import Serving

#: Of the Dockerfile's base, by Debian's names.
_PYTHON = ("python3-venv", "python-is-python3")
_PACKAGES, _ROOT = "packages", "root.tar"
_ASKED = re.compile(r"apt-get install -y --no-install-recommends ([^&]*)")


@dataclass(frozen=True)
class Debian:
    """A folder with a root file system and the packages that a Dockerfile adds to it."""

    folder: Path

    @classmethod
    def of(cls, dockerfile: Path) -> Debian:
        """As this Dockerfile needs it: made once."""
        program = needs.program("mmdebstrap", package="mmdebstrap")
        more = " ".join(_ASKED.findall(dockerfile.read_text().replace("\\\n", " "))).split()
        make = partial(_make, program, more)
        return cls(made_once("debian", (dockerfile, Path(__file__)), make))

    @property
    def python(self) -> str:
        """The version of its Python, such as 3.11."""
        (package,) = (self.folder / _PACKAGES).glob("python3_*.deb")
        found = re.match(r"python3_(\d+\.\d+)", package.name)
        assert found is not None, package
        return found[1]

    @contextmanager
    def base(self, address: str, registry: str, requirements: Iterable[Path]) -> Iterator[str]:
        """The reference of the base, whose mirrors listen on ``address`` for as long as the block.

        pip's has what the files ``requirements`` name.
        """
        wheels = package_index(address, *requirements, python=self.python)
        with wheels as index, self._mirror(address) as packages:
            image = Image(command=("python3",))
            image.text("/etc/apt/sources.list", f"deb [trusted=yes] {packages} ./\n")
            pip = f"[global]\nindex-url={index}\ntrusted-host={address}\n"
            image.text("/etc/pip.conf", pip)
            image.tree(self.folder / _ROOT)
            yield image.push(registry, "debian-python")

    @contextmanager
    def _mirror(self, address: str) -> Iterator[str]:
        serving = Serving()
        files = partial(QuietFiles, directory=self.folder / _PACKAGES)
        serving.serve(ThreadingHTTPServer((address, 0), files))
        with closing(serving):
            yield f"http://{address}:{serving.port}/"


def _make(mmdebstrap: str, more: Iterable[str], folder: Path) -> None:
    packages = folder / _PACKAGES
    with TemporaryDirectory() as state:
        _download([*_PYTHON, *more], Path(state), packages)
    index = []
    for package in sorted(packages.glob("*.deb")):
        digest = _output("sha256sum", package).split()[0]
        index += [
            _output("dpkg-deb", "--field", package).rstrip("\n"),
            f"Filename: ./{package.name}",
            f"Size: {package.stat().st_size}",
            f"SHA256: {digest}\n",
        ]
    (packages / "Packages").write_text("\n".join(index))
    # fmt: off
    _output(
        mmdebstrap, "--quiet", "--mode=root", "--variant=apt", f"--include={','.join(_PYTHON)}",
        "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        "", folder / _ROOT, f"deb [trusted=yes] copy://{packages} ./",
    )
    # fmt: on


def _download(names: Iterable[str], state: Path, packages: Path) -> None:
    """Fetch these, what is essential, and all that they need, as if nothing were installed."""
    for part in ("lists/partial", "cache"):
        (state / part).mkdir(parents=True)
    (packages / "partial").mkdir(parents=True)
    status = state / "status"
    status.touch()
    # fmt: off
    options = [
        "-qq", "--yes", "--option=APT::Sandbox::User=root", "--option=APT::Install-Recommends=0",
        f"--option=Dir::State::status={status}", f"--option=Dir::State::lists={state / 'lists'}",
        f"--option=Dir::Cache={state / 'cache'}", f"--option=Dir::Cache::archives={packages}",
    ]
    # fmt: on
    _output("apt-get", *options, "update")
    _output("apt-get", *options, "install", "--download-only", "?essential", "apt", *names)


def _output(*command: str | Path) -> str:
    done = run(command)
    assert done.returncode == 0, f"{command[0]}: {done.stderr}"
    return done.stdout
