"""Docker's or Podman's program: its commands as argv, each with a deadline.

Both are called by the same words, but for the few of the tables below. Containers carry labels by
which they are found whoever started them, and a name that no second one of the same key and rank
can get.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.engines.local.container_terms import ContainerTerms, Program
from reconciler.engines.local.failures import ContainerError, StillRunningError
from reconciler.types import GROUP, JSON

#: Labels of a container: the engine's root, its run, key, rank, and attempt.
ROOT, RUN, KEY, RANK, ATTEMPT = (
    f"{GROUP}/{name}" for name in ("root", "run", "key", "rank", "attempt")
)

#: Seconds of a command. The programs wait for their daemon without end.
_DEADLINE = 60.0
_LONGEST_MESSAGE = 600
#: Bytes of an answer.
_MOST = 4 << 20
#: Of a program: the end of a container without a pause.
_AT_ONCE: Mapping[str, tuple[str, ...]] = {"docker": (), "podman": ("--time=0",)}
#: Of a program: a copy of what a link leads to; Podman's is that anyway.
_FOLLOW: Mapping[str, tuple[str, ...]] = {"docker": ("--follow-link",), "podman": ()}
#: Of a program: what to do if it does not answer.
_START: Mapping[str, str] = {
    "docker": "start it (systemctl start docker), and give this user the right to use it",
    "podman": "see what `podman info` says",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalContainer:
    """A container, as its program sees it.

    ``started``: its command ran. ``error`` is the cause for which it could not.
    """

    id: str
    labels: Mapping[str, str]
    running: bool
    started: bool
    code: int
    starved: bool
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInfo:
    """An image: its id, its working directory, and its variables."""

    id: str
    folder: str
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FileHead:
    """The beginning of a file in an image; of a link, nothing."""

    content: bytes
    mode: int
    link: bool


@dataclass(frozen=True, slots=True)
class ContainerProgram:
    """Docker or Podman, on this machine or where its variables lead."""

    name: Program
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    @property
    def path(self) -> str:
        """The program's path. Raises ContainerError."""
        found = shutil.which(self.name, path=self.environ.get("PATH", os.defpath))
        if found is None:
            raise ContainerError(
                f"there is no program {self.name} on PATH; install it, or use "
                "local.runtime: process"
            )
        return found

    @property
    def variables(self) -> dict[str, str]:
        """The environment of the program: the daemon's, without its own configuration."""
        return {name: v for name, v in self.environ.items() if not name.startswith("RECONCILER_")}

    def terms(self, network: str) -> ContainerTerms:
        """Ask for the machine. Raises ContainerError where containers cannot run."""
        try:
            [info] = _objects(self._call("info", "--format", "{{json .}}")) or [{}]
        except ContainerError as error:
            raise ContainerError(f"{error.detail}; {_START[self.name]}") from error
        host = info.get("host") if isinstance(info.get("host"), dict) else None
        if host is not None:
            cpus = host.get("cpus")
            rootless = bool((host.get("security") or {}).get("rootless"))
        else:
            if errors := info.get("ServerErrors"):
                said = self._said(" ".join(map(str, errors)))
                raise ContainerError(f"{said}; {_START[self.name]}")
            options = [str(option) for option in info.get("SecurityOptions") or ()]
            if any("name=userns" in option for option in options):
                raise ContainerError(
                    "its daemon gives containers other user ids (userns-remap), so files of a run "
                    "would not be this user's; turn that off, or use rootless mode"
                )
            cpus = info.get("NCPU")
            rootless = any("name=rootless" in option for option in options)
        own = f"{os.geteuid()}:{os.getegid()}"
        return ContainerTerms(
            program=self.name,
            network=network,
            # Root of a rootless container is this user outside.
            user="0:0" if rootless else own,
            cpus=cpus if isinstance(cpus, int) and cpus > 0 else os.cpu_count() or 1,
            rootless=rootless,
        )

    def containers(self, labels: Mapping[str, str]) -> list[LocalContainer]:
        """Find the containers with labels, those that have ended too. Raises ContainerError."""
        wanted = [f"--filter=label={name}={value}" for name, value in labels.items()]
        found = self._call("ps", "--all", "--quiet", "--no-trunc", *wanted).split()
        states: list[LocalContainer] = []
        for each in found:
            with suppress(ContainerError):  # it is gone since
                states += map(_state, _objects(self._call("container", "inspect", each)))
        return states

    def remove(self, ids: Sequence[str]) -> None:
        """End containers at once, and remove them. Raises ContainerError."""
        if ids:
            flags = _AT_ONCE[self.name]
            self._call("rm", "--force", "--volumes", *flags, *ids)

    def image(self, reference: str) -> ImageInfo | None:
        """Return the image of a name or id; None without one."""
        done = self._run("image", "inspect", "--", reference)
        if done.returncode:
            self._call("version")  # is it the image that is not there?
            return None
        for found in _objects(done.stdout):
            config = found.get("Config") or {}
            variables = (str(entry).partition("=") for entry in config.get("Env") or ())
            return ImageInfo(
                id=str(found.get("Id")),
                folder=str(config.get("WorkingDir") or "/"),
                env={name: value for name, _, value in variables},
            )
        return None

    def tags(self, repository: str) -> list[str]:
        """Return the tags of a repository on this machine."""
        wanted = f"reference={repository}"
        return self._call("image", "ls", "--filter", wanted, "--format", "{{.Tag}}").split()

    def untag(self, reference: str) -> None:
        """Remove an image's tag, and the image with its last one."""
        self._call("image", "rm", "--", reference)

    def create(self, arguments: Sequence[str]) -> str:
        """Create a container that is not started; return its id."""
        return self._call("create", *arguments).split()[-1]

    def head(self, container: str, path: str, longest: int) -> FileHead | None:
        """Read the beginning of a file in a container; None without one."""
        command = [self.path, "cp", *_FOLLOW[self.name], f"{container}:{path}", "-"]
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self.variables,
        ) as process:
            patience = threading.Timer(_DEADLINE, process.kill)
            patience.start()
            try:
                assert process.stdout is not None
                with tarfile.open(fileobj=process.stdout, mode="r|", bufsize=longest) as archive:
                    entry = archive.next()
                    if entry is None or entry.isdir():
                        return None
                    content = archive.extractfile(entry) if entry.isreg() else io.BytesIO()
                    data = content.read(longest) if content is not None else b""
                    return FileHead(data, entry.mode, entry.issym())
            except (tarfile.TarError, OSError):
                return None
            finally:
                patience.cancel()
                process.kill()

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                [self.path, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=self.variables,
                timeout=_DEADLINE,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ContainerError(
                f"{self.name} {arguments[0]} has not answered for {_DEADLINE:g} s"
            ) from error

    def _call(self, *arguments: str) -> str:
        """Return what a command prints. Raises ContainerError with what it says."""
        done = self._run(*arguments)
        if done.returncode:
            raise ContainerError(self._said(done.stderr.decode(errors="replace")))
        return done.stdout[:_MOST].decode(errors="replace")

    def _said(self, said: str) -> str:
        lines = " ".join(said.split())
        return f"{self.name} says: {lines[:_LONGEST_MESSAGE].rstrip('.?')}"


def root_name(root: Path) -> str:
    """Return a short name of a root, for containers and images."""
    return hashlib.sha256(os.fsencode(root)).hexdigest()[:8]


def end_containers(program: ContainerProgram, labels: Mapping[str, str]) -> list[LocalContainer]:
    """End and remove the containers with labels; return how they ended.

    Raises StillRunningError.
    """
    try:
        found = program.containers(labels)
        program.remove([container.id for container in found])
        left = program.containers(labels) if found else []
    except ContainerError as error:
        raise StillRunningError(
            f"containers of an attempt cannot be ended: {error.detail}"
        ) from error
    if left:
        names = ", ".join(container.id[:12] for container in left)
        raise StillRunningError(f"{program.name} does not remove containers: {names}")
    return found


def _objects(answer: str | bytes) -> list[dict[str, Any]]:
    """Return the objects of an answer: one, or a list of them."""
    try:
        found: JSON = json.loads(answer)
    except ValueError:
        return []
    return [
        each for each in (found if isinstance(found, list) else [found]) if isinstance(each, dict)
    ]


def _state(found: Mapping[str, Any]) -> LocalContainer:
    state, labels = found.get("State") or {}, (found.get("Config") or {}).get("Labels") or {}
    return LocalContainer(
        id=str(found.get("Id")),
        labels={str(name): str(value) for name, value in labels.items()},
        running=bool(state.get("Running")),
        # Before its first start this is the year 1.
        started=not str(state.get("StartedAt") or "0001").startswith("0001"),
        code=int(state.get("ExitCode") or 0),
        starved=bool(state.get("OOMKilled")),
        error=str(state.get("Error") or "")[:_LONGEST_MESSAGE],
    )
