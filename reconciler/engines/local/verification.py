"""Comparison of an artifact's files with its marker.

It is read-only and may take as long as reading the artifact does, so it goes on in steps, between
which its caller may pause or stop it.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

from reconciler.codec import CodecError
from reconciler.engines.local.failures import ArtifactError
from reconciler.engines.local.fsync import parse_json, read_bounded
from reconciler.engines.local.marker import (
    MARKER,
    MARKER_LIMIT,
    ArtifactFile,
    Marker,
    Sha256,
    list_files,
    load_marker,
    signed_marker,
)
from reconciler.signing import (
    SIGNATURE,
    SIGNATURE_LIMIT,
    UNSIGNED,
    BadSignatureError,
    TrustedKeys,
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

    INVALID: it is no file of an artifact, or no marker. SIGNATURE: there is no valid signature by a
    trusted key. UNREADABLE proves nothing of the artifact: too many open files, a missing
    permission, a disk that does not answer.
    """

    MISSING = "missing"
    UNLISTED = "unlisted"
    SIZE = "size"
    CONTENT = "content"
    INVALID = "invalid"
    SIGNATURE = "signature"
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


def signature_fault(problem: str) -> FileFault:
    """Return the fault of a signature that is missing or not valid."""
    return FileFault(SIGNATURE, FaultKind.SIGNATURE, problem)


def find_faults(
    directory: Path, key: str, *, digests: bool = True, keys: TrustedKeys | None = None
) -> Verification:
    """Compare an artifact's files with its marker; with ``digests``, their content.

    With ``keys`` the marker needs a valid signature by one of them, and what it says of contents
    counts too. Yields the bytes of each step. Returns the marker, None without one of ``key``, and
    the faults. No error of the files is raised: what cannot be read is a fault.
    """
    place = directory / MARKER
    try:
        content = read_bounded(place, MARKER_LIMIT)
        marker = load_marker(parse_json(place, content), key)
    except (OSError, ValueError, CodecError) as error:
        return None, (marker_fault(error),)
    if keys is not None:
        try:
            marker = signed_marker(marker, content, keys.verify(_read_signature(directory)))
        except BadSignatureError as error:
            return marker, (signature_fault(str(error)),)
        except OSError as error:
            return marker, (_unreadable(SIGNATURE, error),)
    try:
        found = dict(list_files(directory))
    except (OSError, ArtifactError) as error:
        return marker, (_folder_fault(error),)
    faults = yield from _compare_files(directory, marker.files, found, digests=digests)
    return marker, faults


def find_external_faults(directory: Path, keys: TrustedKeys) -> Verification:
    """Compare a folder that no task made with the signature in it.

    All its files need to be signed, but for what the signature itself leaves out. Yields and
    returns as :func:`find_faults` does, without a marker.
    """
    try:
        signed = keys.verify(_read_signature(directory))
        listed = dict(list_files(directory, external=True))
    except BadSignatureError as error:
        return None, (signature_fault(str(error)),)
    except (OSError, ArtifactError) as error:
        return None, (_folder_fault(error),)
    files = [
        ArtifactFile(path=path, size=listed.get(path, 0), sha256=Sha256(digest))
        for path, digest in signed.files.items()
    ]
    found = {
        path: size
        for path, size in listed.items()
        if path in signed.files or not signed.ignores(path)
    }
    faults = yield from _compare_files(directory, files, found, digests=True)
    return None, faults


def _compare_files(
    directory: Path, files: Sequence[ArtifactFile], found: Mapping[str, int], *, digests: bool
) -> Generator[int, None, tuple[FileFault, ...]]:
    """Compare a list of files with those found, sizes by path."""
    faults = list(compare_sizes(files, found))
    wrong = {fault.path for fault in faults}
    for file in files if digests else ():
        if file.sha256 is None or file.path in wrong:
            continue
        try:
            with closing(_pieces(directory / file.path)) as pieces:
                same = yield from compare_content(file, pieces)
        except OSError as error:
            faults.append(_unreadable(file.path, error))
        else:
            if not same:
                faults.append(content_fault(file.path))
    return tuple(faults)


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
        return _unreadable(MARKER, error)
    return FileFault(MARKER, FaultKind.INVALID, f"is no marker of the artifact: {str(error)[:200]}")


def _unreadable(path: str, error: OSError) -> FileFault:
    text = f"cannot be read: {error.strerror or error}"
    return FileFault(path, FaultKind.UNREADABLE, text)


def _folder_fault(error: Exception) -> FileFault:
    kind = FaultKind.UNREADABLE if isinstance(error, OSError) else FaultKind.INVALID
    return FileFault(".", kind, str(error))


def _read_signature(directory: Path) -> bytes:
    """Read a folder's signature. Raises BadSignatureError and OSError."""
    try:
        return read_bounded(directory / SIGNATURE, SIGNATURE_LIMIT)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadSignatureError(UNSIGNED) from error
    except ValueError as error:
        raise BadSignatureError("is too large") from error


def _pieces(path: Path) -> Generator[bytes, None, None]:
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_STEP):
            yield piece
