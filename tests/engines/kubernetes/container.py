"""A container as the kubelet would make it, as far as the wrapper can tell.

The wrapper is PID 1 of a PID namespace, under a static busybox put there by the init container's
own command; nothing else is on its PATH.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import psutil

from reconciler.engines.kubernetes.termination import Termination, read_termination
from reconciler.engines.kubernetes.wrapper import MOUNT, environment, install_container, wrapped
from reconciler.engines.local.marker import Marker, read_marker
from reconciler.types import JSON
from tests.needs import unavailable

KEY = "0123456789" * 4
BUSYBOX = shutil.which("busybox") or ""
UNSHARE = shutil.which("unshare") or ""
LINEAGE: dict[str, JSON] = {
    "object": {"kind": "Model", "namespace": "default", "name": "falcon"},
    "commit": "c" * 40,
    "image": 'registry/name@sha256:"quoted" $(HOME) $$ \\n',
    "params": {"epochs": 3, "größe": [1.5, None, "\n"]},
}


def need_busybox() -> None:
    """Skip on a developer's machine without a static busybox; CI has to have one."""
    if not (BUSYBOX and UNSHARE):
        unavailable("the wrapper's tests need busybox-static and util-linux")


def as_the_kubelet(value: JSON) -> str:
    """What a container gets of a text in command, args or env that names no variable."""
    return cast("str", value).replace("$$", "$")


@dataclass
class Ended:
    """A container that has ended."""

    code: int
    output: bytes
    message: str

    @property
    def termination(self) -> Termination:
        found = read_termination(self.message)
        assert found is not None, self.message
        return found


@dataclass
class Container:
    """One pod's container: its own /.reconciler, and a bucket that outlives it.

    ``under`` is a command that starts the wrapper, with what it is to lack.
    """

    place: Path
    bucket: Path
    stage: Path | None = None
    env: dict[str, str] = field(default_factory=dict)
    steer: dict[str, object] = field(default_factory=dict)
    under: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.home = self.place / "reconciler"
        self.home.mkdir(parents=True)
        self.workdir = self.place / "workdir"
        self.workdir.mkdir()
        self.termination = self.place / "termination"
        self.termination.touch()
        command = cast("list[JSON]", install_container("busybox")["command"])
        text = [as_the_kubelet(part) for part in command]
        assert text[3] == MOUNT
        text[3] = str(self.home)
        subprocess.run([BUSYBOX, *text], check=True, env={})

    def variables(self) -> dict[str, str]:
        steer = {"key": KEY, "lineage": LINEAGE, "artifact": str(self.bucket)} | self.steer
        if self.stage:
            steer["stage"] = str(self.stage)
        names = environment(**steer)  # type: ignore[arg-type]
        found = {str(v["name"]): as_the_kubelet(v["value"]) for v in names if "value" in v}
        return {
            **found,
            "RECONCILER_TERMINATION": str(self.termination),
            "RECONCILER_POLL": "0",
            "RECONCILER_SETTLE": "0",
            "PATH": "/nowhere",
            "MODEL_DIR": str(self.stage or self.bucket),
            **self.env,
        }

    @contextmanager
    def started(self, command: Sequence[str]) -> Iterator[Running]:
        """The container, while it runs; whatever is left of it is killed."""
        argv = wrapped(command)
        argv = [argv[0].replace(MOUNT, str(self.home)), argv[1]] + [
            as_the_kubelet(word).replace(MOUNT, str(self.home), int(i == 0))
            for i, word in enumerate(argv[2:])
        ]
        output = self.place / "output"
        with output.open("wb") as sink:
            process = subprocess.Popen(
                [
                    UNSHARE,
                    "--pid",
                    "--fork",
                    "--mount-proc",
                    "--kill-child",
                    "--",
                    *self.under,
                    *argv,
                ],
                cwd=self.workdir,
                env=self.variables(),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        try:
            yield Running(self, process, output)
        finally:
            process.kill()
            process.wait()

    def run(self, *command: str) -> Ended:
        with self.started(command) as running:
            return running.wait()

    def gate(self, name: str) -> Path:
        """A pipe in its place: opening it for reading waits until somebody opens it for writing."""
        path = self.place / name
        os.mkfifo(path)
        return path

    def shell(self, script: str) -> AbstractContextManager[Running]:
        """A script as the image's command, while it runs."""
        return self.started([BUSYBOX, "sh", "-c", script])

    def signalled(self, script: str, number: signal.Signals) -> Ended:
        """The end of a script that is signalled once it says ``ready``."""
        ready = self.gate("ready")
        with self.shell(script.replace("ready", f"echo >{ready}")) as running:
            ready.read_bytes()
            running.signal(number)
            return running.wait()

    def marker(self) -> Marker:
        """The marker of the artifact, which is complete."""
        found = read_marker(self.bucket, KEY)
        assert found is not None
        return found

    def sh(self, script: str, *arguments: str) -> Ended:
        """Run a script as the image's command: the image has busybox under one name."""
        return self.run(BUSYBOX, "sh", "-c", script, *arguments)


@dataclass
class Running:
    """A container that runs."""

    container: Container
    process: subprocess.Popen[bytes]
    output: Path

    def signal(self, number: signal.Signals) -> None:
        """Signal PID 1, as the runtime does."""
        (child,) = psutil.Process(self.process.pid).children()
        child.send_signal(number)

    def wait(self) -> Ended:
        code = self.process.wait(120)
        message = self.container.termination.read_text(encoding="utf-8")
        return Ended(code, self.output.read_bytes(), message)


def log(container: Container, attempt: int) -> bytes:
    return (container.bucket / "logs" / f"attempt-{attempt}.log").read_bytes()


def write_tree(root: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
