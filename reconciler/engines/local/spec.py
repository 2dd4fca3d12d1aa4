"""Orders and allocations on disk, as versioned JSON.

Both are written by the daemon and read by the supervisor of the run. A later daemon reads the
orders of an earlier one: a field may be added with its default; the meaning of one that is here
never changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from reconciler.codec import Codec, CodecError
from reconciler.engine import RunSpec
from reconciler.engines.local.container_terms import ContainerTerms
from reconciler.engines.local.isolation_terms import IsolationTerms
from reconciler.engines.local.records import read_record, write_record
from reconciler.signing import SigningFiles
from reconciler.types import JSON, Verify
from reconciler.urls import innermost


class SpecError(Exception):
    """A file is not an order or an allocation of this version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """An order in ``spec.json``, and the time at which it was made."""

    created: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """The content of ``allocation.json``: the run may start, on these terms.

    ``gpus`` are ids for CUDA_VISIBLE_DEVICES, of all ranks. ``secrets`` is the folder with
    ``<name>/<key>``. ``grace`` seconds pass between TERM and KILL; ``retry_delay`` is the first
    pause between attempts, in seconds. ``verify`` is the check of inputs, by the URLs of buckets,
    ``signing`` the keys that sign artifacts and that are trusted. ``containers`` are the terms of
    containers; None where runs are processes. ``isolation`` are those of isolated processes.
    """

    gpus: tuple[str, ...] = ()
    secrets: str | None = None
    grace: float
    retry_delay: float
    verify: Mapping[str, Verify] = field(default_factory=dict)
    signing: SigningFiles = field(default_factory=SigningFiles)
    containers: ContainerTerms | None = None
    isolation: IsolationTerms | None = None

    def verified(self, url: str) -> Verify:
        """Return the check of an artifact, that of the innermost bucket."""
        bucket = innermost(url, self.verify)
        return self.verify[bucket] if bucket is not None else Verify.SIZES


_SPEC = Codec(RunSpec, omit="none")
_ORDER = Codec(_Order, timespec="microseconds", version=1)
_ALLOCATION = Codec(Allocation, omit="none", version=1)


def encode_spec(spec: RunSpec, created: datetime) -> dict[str, JSON]:
    """Return the document of an order, without fields that are None."""
    return {**_ORDER.dump(_Order(created=created)), **_SPEC.dump(spec)}


def decode_spec(document: JSON) -> tuple[RunSpec, datetime]:
    """Return the order in a document, and its time. Raises SpecError."""
    try:
        created = _ORDER.load(document).created
        return _SPEC.load(document), created
    except CodecError as error:
        raise SpecError(f"not an order: {error}") from error


def write_allocation(path: Path, allocation: Allocation) -> None:
    """Write an allocation, durably."""
    write_record(path, _ALLOCATION, allocation)


def read_allocation(path: Path) -> Allocation:
    """Read an allocation. Raises OSError, and SpecError for another version."""
    try:
        return read_record(path, _ALLOCATION)
    except ValueError as error:
        raise SpecError(f"not an allocation: {error}") from error
