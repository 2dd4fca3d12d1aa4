"""Paths under the engine's root; the package's docstring has the table."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from reconciler.errors import ReconcilerError

#: 2: a run has no job.json; its reason is a code, and its terms are in allocation.json.
VERSION = "2"


class LayoutError(ReconcilerError):
    """The root cannot be used by this version of the program."""


def path_of(url: str) -> Path | None:
    """Return the absolute path of a local file URL, else None."""
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        return None
    path = Path(unquote(parts.path))
    return path if path.is_absolute() else None


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """One run's directory."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def spec(self) -> Path:
        """The order."""
        return self.path / "spec.json"

    @property
    def params(self) -> Path:
        """The command's PARAMS_FILE."""
        return self.path / "params.json"

    @property
    def source(self) -> Path:
        """A build's exported context, until the supervisor takes it."""
        return self.path / "source"

    @property
    def allocation(self) -> Path:
        """Present once the run may start."""
        return self.path / "allocation.json"

    @property
    def cancel(self) -> Path:
        """Present once the run is to end."""
        return self.path / "cancel"

    @property
    def end(self) -> Path:
        """Present once a user has ended the run, with the cause."""
        return self.path / "end.json"

    @property
    def state(self) -> Path:
        """The run's progress."""
        return self.path / "state.json"

    @property
    def progress(self) -> Path:
        """The newest values that the command reported."""
        return self.path / "progress.json"

    @property
    def lock(self) -> Path:
        """Held by the supervisor while it lives."""
        return self.path / "lock"

    @property
    def control(self) -> Path:
        """A FIFO that wakes the supervisor."""
        return self.path / "control"

    @property
    def logs(self) -> Path:
        """A build's logs."""
        return self.path / "logs"

    @property
    def supervisor_log(self) -> Path:
        """The supervisor's own standard error."""
        return self.path / "supervisor.log"


@dataclass(frozen=True, slots=True)
class ImageDirectory:
    """A build's directory: the tree, and the record that completes it."""

    path: Path

    @property
    def tree(self) -> Path:
        """The source tree: the working directory of commands."""
        return self.path / "tree"

    @property
    def env(self) -> Path:
        """The installed project, above the environment of its dependencies."""
        return self.path / "env"

    @property
    def record(self) -> Path:
        """Written last."""
        return self.path / "image.json"


@dataclass(frozen=True, slots=True)
class RootLayout:
    """Paths under one root, which is absolute."""

    root: Path

    def run(self, name: str) -> RunDirectory:
        """The directory of a run."""
        return RunDirectory(self.runs / name)

    def image(self, key: str) -> ImageDirectory:
        """The directory of a build key's image."""
        return ImageDirectory(self.images / key)

    def scratch(self, run: str) -> Path:
        """A run's scratch directory.

        Short, because sockets are made below it and their paths are bound to about 100 bytes.
        """
        return self.root / "scratch" / hashlib.sha256(run.encode()).hexdigest()[:10]

    @property
    def runs(self) -> Path:
        """All runs."""
        return self.root / "runs"

    @property
    def images(self) -> Path:
        """Complete and unfinished builds."""
        return self.root / "images"

    @property
    def envs(self) -> Path:
        """Virtual environments."""
        return self.root / "envs"

    def environment_record(self, name: str) -> Path:
        """The file that is there once an environment is complete."""
        return self.envs / f"{name}.json"

    @property
    def locks(self) -> Path:
        """Locks of keys and environments."""
        return self.root / "locks"

    def key_lock(self, key: str) -> Path:
        """Held by the one attempt at a key."""
        return self.locks / key

    def environment_lock(self, name: str) -> Path:
        """Held by the build that makes an environment."""
        return self.locks / f"env-{name}"

    def use_lock(self, name: str) -> Path:
        """Held together by all users of an image or environment.

        An image has its build key as name. The file's time is that of the last use.
        """
        return self.locks / f"use-{name}"

    @property
    def exports(self) -> Path:
        """Build contexts that are being written."""
        return self.root / "exports"

    @property
    def trash(self) -> Path:
        """Directories that are about to be removed."""
        return self.root / "trash"

    @property
    def notify(self) -> Path:
        """The FIFO that wakes the daemon."""
        return self.root / "notify"

    @property
    def daemon_lock(self) -> Path:
        """Held by the daemon."""
        return self.root / "daemon.lock"

    def prepare(self) -> None:
        """Make missing folders. Raises LayoutError for another version."""
        version = self.root / "version"
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            found = version.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            found = ""
        # An empty file is one whose writing was interrupted: nothing was made under it yet.
        if not found:
            version.write_text(f"{VERSION}\n", encoding="utf-8")
        elif found != VERSION:
            raise LayoutError(
                f'{self.root} was written by another version of this program: expected "{VERSION}"'
                f' in {version}, found "{found[:20]}"; use another local.root'
            )
        for folder in ("runs", "images", "envs", "locks", "scratch", "exports", "trash"):
            (self.root / folder).mkdir(exist_ok=True)
