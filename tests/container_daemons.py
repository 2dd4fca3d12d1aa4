"""Docker and Podman of the tests' own: other data, other sockets, and nothing left of them.

No bridge and no rule of a firewall is made, so containers have the machine's network or none. An
image is made of the machine's static busybox, and served by a registry of the tests.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.image_registry import ImageRegistry, image_registry
from tests.needs import program, unavailable
from tests.processes import run

#: The image that the others are built from.
BASE = "localhost/base:1"
#: The beginning of the name of a daemon's folder.
FOLDER = "mr-containers-"
_PATIENCE = 60.0


@dataclass(frozen=True)
class ContainerDaemon:
    """Docker or Podman, as ``environment`` makes its program find it, and a registry beside it."""

    name: str
    environment: Mapping[str, str]
    registry: ImageRegistry

    def call(self, *arguments: str) -> str:
        """What its program prints."""
        command = [self.name, *arguments]
        return run(command, check=True, env=os.environ | dict(self.environment)).stdout

    def containers(self) -> list[str]:
        """The names of all containers, those that have ended too."""
        return sorted(self.call("ps", "--all", "--format", "{{.Names}}").split())

    def images(self, repository: str = "reconciler-") -> list[str]:
        shown = self.call("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
        return [name for name in shown if repository in name]


@pytest.fixture(scope="session", params=["docker", "podman"])
def containers(request: pytest.FixtureRequest) -> Iterator[ContainerDaemon]:
    """Docker and Podman, one of each for a worker's tests."""
    with container_daemon(request.param) as daemon:
        yield daemon


@contextmanager
def container_daemon(name: str) -> Iterator[ContainerDaemon]:
    """Start Docker's daemon, or give Podman a storage, with :data:`BASE`."""
    if os.geteuid() != 0:
        pytest.skip("Docker and Podman of the tests' own take root")
    busybox = Path(program("busybox", package="busybox-static"))
    program(name, package="docker.io" if name == "docker" else "podman")
    # Not pytest's folder: the path of a socket is bound to about 100 bytes.
    folder = Path(tempfile.mkdtemp(prefix=FOLDER))
    try:
        layer = _layer(folder / "base.tar", busybox)
        with (
            image_registry(layer.read_bytes()) as registry,
            _docker(folder) if name == "docker" else _podman(folder, registry) as environment,
        ):
            daemon = ContainerDaemon(name, environment, registry)
            daemon.call("import", str(layer), BASE)
            try:
                yield daemon
            finally:
                if left := daemon.call("ps", "--all", "--quiet").split():
                    daemon.call("rm", "--force", "--volumes", *left)
    finally:
        for mount in _mounts(folder):
            run(["umount", mount], check=True)
        shutil.rmtree(folder)


@contextmanager
def _docker(folder: Path) -> Iterator[dict[str, str]]:
    socket, log = folder / "d.sock", folder / "log"
    command = [
        program("dockerd", package="docker.io"),
        f"--host=unix://{socket}",
        f"--data-root={folder / 'data'}",
        f"--exec-root={folder / 'exec'}",
        f"--pidfile={folder / 'pid'}",
        f"--config-file={folder / 'daemon.json'}",
        "--bridge=none",
        "--iptables=false",
        "--ip6tables=false",
        "--ip-forward=false",
    ]
    (folder / "daemon.json").write_text("{}")
    environment = {"DOCKER_HOST": f"unix://{socket}", "DOCKER_CONFIG": str(folder / "config")}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder)
    try:
        deadline = time.monotonic() + _PATIENCE
        while run(["docker", "version"], env=os.environ | environment).returncode:
            if process.poll() is not None or time.monotonic() > deadline:
                unavailable(f"dockerd does not start here: {log.read_text()[-1000:]}")
        yield environment
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _podman(folder: Path, registry: ImageRegistry) -> Iterator[dict[str, str]]:
    config = folder / "storage.conf"
    config.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/data"\nrunroot = "{folder}/run"\n'
    )
    engine = folder / "containers.conf"
    engine.write_text(
        # Limits within those of any machine, and the runtime that takes either version of cgroups.
        '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n'
        '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\nruntime = "runc"\n'
        f'lock_type = "file"\ntmp_dir = "{folder}/tmp"\n'
    )
    registries = folder / "registries.conf"
    registries.write_text(f'[[registry]]\nlocation = "{registry.host}"\ninsecure = true\n')
    environment = {
        "CONTAINERS_STORAGE_CONF": str(config),
        "CONTAINERS_CONF": str(engine),
        "CONTAINERS_REGISTRIES_CONF": str(registries),
    }
    done = run(["podman", "info", "--format", "json"], env=os.environ | environment)
    if done.returncode:
        unavailable(f"podman does not work here: {done.stderr[-1000:]}")
    yield environment


def _layer(archive: Path, busybox: Path) -> Path:
    """Make the file system of an image: busybox under each of its names."""
    names = run([busybox, "--list"], check=True).stdout.split()
    with tarfile.open(archive, "w") as file:
        for place in ("bin", "tmp", "etc"):
            entry = tarfile.TarInfo(place)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if place == "tmp" else 0o755
            file.addfile(entry)
        file.add(busybox, "bin/busybox")
        for name in names:
            if name != "busybox":
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                file.addfile(link)
    return archive


def _mounts(folder: Path) -> list[str]:
    """The mounts below a folder, the innermost first."""
    found = json.loads(run(["findmnt", "--json", "--list", "--output=TARGET"]).stdout)
    targets = [each["target"] for each in found["filesystems"]]
    return sorted((t for t in targets if t.startswith(f"{folder}/")), reverse=True)
