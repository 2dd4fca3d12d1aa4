"""Runs on disk, each written and removed as a whole."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import rfc8785
import structlog

from reconciler.engine import EngineError, ImageGoneError, Run, RunSpec
from reconciler.engines.local import fsync
from reconciler.engines.local import state as states
from reconciler.engines.local.build import image_result
from reconciler.engines.local.fsync import encode, read_json, remove_tree, sync_directory
from reconciler.engines.local.layout import ImageDirectory, RootLayout, RunDirectory, path_of
from reconciler.engines.local.spec import (
    Allocation,
    SpecError,
    decode_spec,
    encode_spec,
    read_allocation,
    write_allocation,
)
from reconciler.engines.local.state import RunState
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import TaskKey

_log = structlog.get_logger(__name__)

#: Supervisors of a run: one that may be lost, and one that then ends the run.
_ENOUGH_SPAWNS = 2


@dataclass(slots=True)
class RunRecord:
    """A run in the daemon's memory.

    ``gpus`` are those allocated to the run once it may start, None before. ``waiting`` is the
    cause for which it may not start yet. ``version`` identifies the state file that was read
    last. ``spawns`` counts supervisors that ended without ending the run; the next one starts at
    ``spawn_at``.
    """

    spec: RunSpec
    created: datetime
    directory: RunDirectory
    state: RunState | None = None
    gpus: tuple[str, ...] | None = None
    deleting: bool = False
    waiting: Reason | None = None
    version: tuple[int, int] = (0, 0)
    spawns: int = 0
    spawn_at: float = 0.0

    @classmethod
    def load(cls, directory: RunDirectory) -> RunRecord:
        """Read a run's directory. Raises OSError, ValueError and SpecError."""
        spec, created = decode_spec(read_json(directory.spec))
        if spec.name != directory.name:
            raise SpecError(f"expected the run {directory.name}, found {spec.name}")
        record = cls(spec, created, directory, deleting=directory.cancel.exists())
        if directory.allocation.exists():
            record.gpus = _gpus(directory.allocation)
        record.refresh()
        return record

    @property
    def ended(self) -> bool:
        """Return true once the supervisor has written the run's end."""
        return self.state is not None and self.state.ended

    @property
    def active(self) -> bool:
        """Return true while the run holds its slots and GPUs."""
        return self.gpus is not None and not self.ended

    @property
    def _is_stuck(self) -> bool:
        """True once the supervisor that ends a lost run was lost, too."""
        return not self.ended and self.spawns > _ENOUGH_SPAWNS

    def refresh(self) -> bool:
        """Read a newer state, if any. Return true then."""
        try:
            stat = self.directory.state.stat()
        except FileNotFoundError:
            return False
        # Every state is a new file, but an inode may be given again within one clock tick.
        version = (stat.st_ino, stat.st_mtime_ns)
        if version == self.version:
            return False
        try:
            self.state = states.read(self.directory.state)
        except ValueError:
            # Damaged: the supervisor that is started next takes the run for lost.
            self.state = None
        self.version = version
        return True

    def run(self) -> Run:
        """Return the run as the daemon's caller sees it."""
        state = self.state or RunState()
        return replace(
            self.spec.pending(),
            phase=state.phase,
            attempts=state.attempts,
            created=self.created,
            started=state.started,
            finished=state.finished,
            reason=self.waiting if self.state is None or self._is_stuck else state.cause,
            failure=state.failure,
            log=Path(state.log).as_uri() if state.log else None,
            result=state.result,
            deleting=self.deleting,
        )


def _gpus(path: Path) -> tuple[str, ...]:
    try:
        return read_allocation(path).gpus
    except SpecError:
        return ()


@dataclass(frozen=True, slots=True)
class RunStore:
    """The folder of runs. Every method blocks and raises OSError."""

    layout: RootLayout

    def load(self) -> dict[str, RunRecord]:
        """Load every run; remove what an earlier daemon left half written."""
        for folder in (self.layout.trash, self.layout.exports):
            for path in folder.iterdir():
                remove_tree(path)
        found = {}
        for path in sorted(self.layout.runs.iterdir()):
            if path.name.startswith("."):
                remove_tree(path)
                continue
            try:
                found[path.name] = RunRecord.load(self.layout.run(path.name))
            except (OSError, ValueError, SpecError) as error:
                _log.error(
                    "a run cannot be read and is left alone", path=str(path), error=str(error)
                )
        return found

    def add(self, spec: RunSpec) -> RunRecord:
        """Write a run, or return the existing one of that name."""
        run = self.layout.run(spec.name)
        new = self.layout.runs / f".{spec.name}.{secrets.token_hex(4)}"
        new.mkdir()
        try:
            fsync.write_new(new / run.spec.name, encode(encode_spec(spec, states.now())))
            params = rfc8785.dumps(dict(spec.params))
            fsync.write_new(new / run.params.name, params, mode=0o444)
            sync_directory(new)
            # A directory cannot be renamed to where there is one already.
            try:
                new.rename(run.path)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
            sync_directory(self.layout.runs)
        finally:
            remove_tree(new)
        return RunRecord.load(run)

    def allocate(self, record: RunRecord, allocation: Allocation) -> None:
        """Write down that a run may start."""
        write_allocation(record.directory.allocation, allocation)
        record.gpus = allocation.gpus

    def cancel(self, record: RunRecord) -> None:
        """Write down that a run is to end and be forgotten."""
        if not record.directory.cancel.exists():
            with contextlib.suppress(FileExistsError):
                fsync.write_new(record.directory.cancel, b"")
            sync_directory(record.directory.path)

    def remove(self, record: RunRecord) -> None:
        """Forget a run without processes, at once; its files take longer."""
        trash = self.layout.trash / f"{record.spec.name}.{secrets.token_hex(4)}"
        with contextlib.suppress(FileNotFoundError):
            record.directory.path.rename(trash)
        sync_directory(self.layout.runs)
        for path in (trash, self.layout.scratch(record.spec.name)):
            try:
                remove_tree(path)
            except OSError as error:
                _log.warning("a removed run's files stay", path=str(path), error=str(error))

    def new_export(self) -> str:
        """Make an empty folder to export a build context into."""
        path = self.layout.exports / secrets.token_hex(8)
        path.mkdir()
        return os.fspath(path)


def check_spec(spec: RunSpec, layout: RootLayout, *, containers: bool) -> None:
    """Raise EngineError for an order that this engine cannot execute.

    ``containers``: it runs container images, also those that a manifest names.
    """
    if spec.build is not None:
        return
    if not spec.command:
        raise _refused(f"{spec.task} has no command")
    image = path_of(spec.image or "")
    if image is None and (not containers or "://" in (spec.image or "://")):
        raise _refused(
            f"this engine runs source trees, not container images: {spec.image}; use a git "
            "source, or local.runtime: docker or podman, or a cluster"
        )
    if image is not None and not _is_there(image, layout, containers=containers):
        gone = Reason.of(ReasonCode.IMAGE_GONE, image=str(spec.image))
        raise ImageGoneError(gone, TaskKey(image.name))
    directories = {"the artifact": spec.output}
    for name, mounted in (
        ("the base", spec.base),
        ("the dataset", spec.dataset),
        ("the model", spec.artifact),
    ):
        if mounted is not None:
            directories[name] = mounted.url
    for name, url in directories.items():
        if path_of(url or "") is None:
            raise _refused(
                "this engine reads and writes directories: expected a file:// URL for "
                f"{name}, found {url}"
            )


def _is_there(image: Path, layout: RootLayout, *, containers: bool) -> bool:
    if image.parent != layout.images:
        return False
    return image_result(ImageDirectory(image), containers=containers) is not None


def _refused(detail: str) -> EngineError:
    return EngineError(Reason.of(ReasonCode.RUN_REFUSED, detail=detail), permanent=True)
