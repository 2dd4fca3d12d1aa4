"""The runs on disk: written so that each is there whole or not at all, and removed likewise."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from dataclasses import dataclass

import rfc8785
import structlog

from reconciler.engine import RunSpec
from reconciler.engines.local.fsync import (
    encode,
    remove_tree,
    replace,
    sync_directory,
    write_new,
)
from reconciler.engines.local.job import Job, encode_job
from reconciler.engines.local.layout import Layout
from reconciler.engines.local.record import Record
from reconciler.engines.local.spec import SpecError, encode_spec
from reconciler.engines.local.state import now

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Shelf:
    """The folder of runs. Every method blocks and raises OSError."""

    layout: Layout

    def load(self) -> dict[str, Record]:
        """Every run, and throw away what an earlier daemon had begun to write or remove."""
        for folder in (self.layout.trash, self.layout.exports):
            for path in folder.iterdir():
                remove_tree(path)
        found = {}
        for path in sorted(self.layout.runs.iterdir()):
            if path.name.startswith("."):
                remove_tree(path)
                continue
            try:
                found[path.name] = Record.load(self.layout.run(path.name))
            except (OSError, ValueError, SpecError) as error:
                _log.error(
                    "a run cannot be read and is left alone", path=str(path), error=str(error)
                )
        return found

    def add(self, spec: RunSpec, job: Job) -> Record:
        """Write a run; if one of that name is there, that one is meant."""
        run = self.layout.run(spec.name)
        new = self.layout.runs / f".{spec.name}.{secrets.token_hex(4)}"
        new.mkdir()
        try:
            write_new(new / run.spec.name, encode(encode_spec(spec, now())))
            write_new(new / run.job.name, encode_job(job))
            write_new(new / run.params.name, rfc8785.dumps(dict(spec.params)), mode=0o444)
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
        return Record.load(run)

    def grant(self, record: Record, gpus: tuple[str, ...]) -> None:
        """Write down that a run may start."""
        replace(record.directory.grant, encode({"version": 1, "gpus": list(gpus)}))
        record.grant = gpus

    def cancel(self, record: Record) -> None:
        """Write down that a run is to end and be forgotten."""
        if not record.directory.cancel.exists():
            with contextlib.suppress(FileExistsError):
                write_new(record.directory.cancel, b"")
            sync_directory(record.directory.path)

    def remove(self, record: Record) -> None:
        """Forget a run of which nothing is left running; at once, though files take longer."""
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
        """An empty folder to export a build context into."""
        path = self.layout.exports / secrets.token_hex(8)
        path.mkdir()
        return os.fspath(path)
