"""Records on disk, a JSON file each: dataclasses with their codecs.

The record of an image or environment is written last: without it the folder is not complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from reconciler.codec import Codec, CodecError
from reconciler.engine import ResultWarning
from reconciler.engines.local.fsync import encode, read_json, replace
from reconciler.types import Commit, TaskKey, TreeId

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """The content of ``image.json``: a complete image.

    ``env`` is the name of its environment, None without requirements. ``project``: the image has
    an environment of its own too, with the project installed. ``container`` is the id of a
    container image, which has neither; None where the image is a source tree.
    """

    key: TaskKey
    commit: Commit
    tree: TreeId
    env: str | None
    project: bool
    container: str | None = None
    warnings: tuple[ResultWarning, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentRecord:
    """The content of an environment's record.

    ``requirements`` is the text that was installed. ``shared``: other sources with the same
    requirements get it too.
    """

    requirements: str | None
    shared: bool


IMAGE = Codec(ImageRecord, omit="nothing", version=1)
ENVIRONMENT = Codec(EnvironmentRecord, omit="nothing", version=1)


def write_record(path: Path, codec: Codec[T], record: T) -> None:
    """Replace the record in a file, durably."""
    replace(path, encode(codec.dump(record)))


def read_record(path: Path, codec: Codec[T]) -> T:
    """Read the record in a file. Raises OSError, and ValueError if damaged."""
    try:
        return codec.load(read_json(path))
    except CodecError as error:
        raise ValueError(f"{path}: {error}") from error
