"""What a supervisor carries out: an order in the terms of this machine.

The daemon writes it with the run; a supervisor needs nothing else to start with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.engines.local.fsync import encode, read_json
from reconciler.types import JSON, Kind, TaskKind

_VERSION = 1


class JobError(Exception):
    """A job file that this version cannot carry out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run on this machine. Paths are absolute; times are in seconds.

    ``env`` is the manifest's, with the params; the contract's own variables come on top of it
    when an attempt starts. ``secret_env`` names files below ``secrets``: their content is read
    then too, and stands nowhere on disk. ``gpus`` are of one rank. ``grace`` is between TERM
    and KILL; ``retry_delay`` is the first pause between attempts.
    """

    name: str
    task: str
    key: str
    root: str
    timeout: float
    retries: int
    grace: float
    retry_delay: float
    nodes: int = 1
    gpus: int = 0
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    secret_env: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    secrets: str | None = None
    image: str | None = None
    output: str | None = None
    output_url: str | None = None
    output_kind: str = Kind.MODEL.value
    base: str | None = None
    dataset: str | None = None
    commit: str | None = None
    tree: str | None = None
    lineage: Mapping[str, JSON] = dataclasses.field(default_factory=dict)

    @property
    def is_build(self) -> bool:
        """Whether this makes an image rather than an artifact."""
        return self.task == TaskKind.BUILD


def encode_job(job: Job) -> bytes:
    """The content of ``job.json``."""
    document = {"version": _VERSION} | dataclasses.asdict(job)
    return encode(document)


def read_job(path: Path) -> Job:
    """The job in a file. Raises OSError, and JobError if it is of another version."""
    try:
        document = read_json(path)
        if not isinstance(document, dict) or document.pop("version", None) != _VERSION:
            raise JobError(f"{path} is not a job of version {_VERSION}")
        job = Job(**document)  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        raise JobError(f"{path} is not a job of version {_VERSION}: {error}") from error
    secrets = {name: (pair[0], pair[1]) for name, pair in job.secret_env.items()}
    return dataclasses.replace(job, command=tuple(job.command), secret_env=secrets)
