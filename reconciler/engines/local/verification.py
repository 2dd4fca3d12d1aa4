"""Comparison of an artifact's files with its marker.

It is read-only and may take as long as reading the artifact does, so it goes on in steps, between
which its caller may pause or stop it.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

from reconciler.codec import CodecError
from reconciler.engines.local.failures import ArtifactError
from reconciler.engines.local.fsync import read_json
from reconciler.engines.local.marker import (
    MARKER,
    MARKER_LIMIT,
    ArtifactFile,
    Marker,
    list_files,
    load_marker,
)

T = TypeVar("T")
#: Bytes that a step reads.
_STEP = 16 << 20
#: Characters of a file's path in a message; the end tells more than the beginning.
_LONGEST_NAME = 300


#: A comparison that is under way: the bytes of each step, then the marker, if there is one, and
#: the faults.
Verification: TypeAlias = "Generator[int, None, tuple[Marker | None, tuple[FileFault, ...]]]"


class FaultKind(enum.StrEnum):
    """A difference between a file and its entry in the marker.

    INVALID: it is no file of an artifact, or no marker. UNREADABLE proves nothing of the artifact:
    too many open files, a missing permission, a disk that does not answer.
    """

    MISSING = "missing"
    UNLISTED = "unlisted"
    SIZE = "size"
    CONTENT = "content"
    INVALID = "invalid"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class FileFault:
    """A file that differs from the marker, and the difference.

    ``path`` is the marker's own where that is wrong.
    """

    path: str
    kind: FaultKind
    message: str

    def __str__(self) -> str:
        """Return the fault as one printable line of bounded length."""
        name = self.path if len(self.path) <= _LONGEST_NAME else f"…{self.path[-_LONGEST_NAME:]}"
        return f"{''.join(c if c.isprintable() else '?' for c in name)}: {self.message}"


def compare_sizes(files: Iterable[ArtifactFile], found: Mapping[str, int]) -> Iterator[FileFault]:
    """Compare a marker's list with the sizes of the files there."""
    listed = {file.path for file in files}
    for file in files:
        size = found.get(file.path)
        if size is None:
            yield FileFault(file.path, FaultKind.MISSING, "is not there")
        elif size != file.size:
            text = f"has {size} bytes, and {file.size} when it was made"
            yield FileFault(file.path, FaultKind.SIZE, text)
    for path in sorted(found.keys() - listed):
        yield FileFault(path, FaultKind.UNLISTED, "was not there when the artifact was made")


def compare_content(file: ArtifactFile, pieces: Iterable[bytes]) -> Generator[int, None, bool]:
    """Compare a file's content, piece by piece.

    Yields the length of each piece, and returns whether they are the content that it had.
    """
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
        yield len(piece)
    return digest.hexdigest() == file.sha256


def content_fault(path: str) -> FileFault:
    """Return the fault of a file with another content."""
    text = "has the size, but not the content (SHA-256) that it had when it was made"
    return FileFault(path, FaultKind.CONTENT, text)


def find_faults(directory: Path, key: str, *, digests: bool = True) -> Verification:
    """Compare an artifact's files with its marker; with ``digests``, their content.

    Yields the bytes of each step. Returns the marker, None without one of ``key``, and the faults.
    No error of the files is raised: what cannot be read is a fault.
    """
    try:
        marker = load_marker(read_json(directory / MARKER, MARKER_LIMIT), key)
    except (OSError, ValueError, RecursionError, CodecError) as error:
        return None, (marker_fault(error),)
    try:
        found = dict(list_files(directory))
    except (OSError, ArtifactError) as error:
        unread = isinstance(error, OSError)
        kind = FaultKind.UNREADABLE if unread else FaultKind.INVALID
        return marker, (FileFault(".", kind, str(error)),)
    faults = list(compare_sizes(marker.files, found))
    wrong = {fault.path for fault in faults}
    for file in marker.files if digests else ():
        if file.sha256 is None or file.path in wrong:
            continue
        try:
            with closing(_pieces(directory / file.path)) as pieces:
                same = yield from compare_content(file, pieces)
        except OSError as error:
            text = f"cannot be read: {error.strerror or error}"
            faults.append(FileFault(file.path, FaultKind.UNREADABLE, text))
        else:
            if not same:
                faults.append(content_fault(file.path))
    return marker, tuple(faults)


def finish(steps: Generator[int, None, T], between: Callable[[], None] = lambda: None) -> T:
    """Take all steps of a comparison; return its result.

    ``between`` is called between two of them, and may end it by raising.
    """
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: T = end.value
            return found
        between()


def marker_fault(error: Exception) -> FileFault:
    """Return the fault of a marker that cannot be read."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return FileFault(MARKER, FaultKind.MISSING, "is not there")
    if isinstance(error, OSError):
        return FileFault(MARKER, FaultKind.UNREADABLE, f"cannot be read: {error.strerror or error}")
    return FileFault(MARKER, FaultKind.INVALID, f"is no marker of the artifact: {str(error)[:200]}")


def _pieces(path: Path) -> Generator[bytes, None, None]:
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_STEP):
            yield piece
