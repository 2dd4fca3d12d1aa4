"""Comparison of artifacts with their markers, on disk and in cloud buckets."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import structlog

from reconciler import stores
from reconciler.codec import CodecError
from reconciler.engines.local.marker import (
    MARKER,
    MARKER_LIMIT,
    ArtifactFile,
    Marker,
    compare_marker,
    is_reserved,
    load_marker,
    signed_marker,
)
from reconciler.engines.local.verification import (
    FaultKind,
    FileFault,
    Verification,
    compare_content,
    compare_sizes,
    content_fault,
    find_faults,
    marker_fault,
    signature_fault,
)
from reconciler.signing import (
    SIGNATURE,
    SIGNATURE_LIMIT,
    UNSIGNED,
    BadSignatureError,
    KeyFileError,
    SigningFiles,
    TrustedKeys,
)

log = structlog.get_logger(__name__)

#: Bytes and files that are read at once.
_BYTES = 64 << 20
_FILES = 1000
#: The rest after that, as a multiple of the time that it took.
_REST = 3.0
#: Faults of an artifact that are logged.
_MOST_FAULTS = 20


def is_lost(directory: Path, key: str) -> bool:
    """Return whether an artifact is gone or damaged for certain.

    An error of reading proves nothing: too many open files, a missing permission, a disk that does
    not answer.
    """
    try:
        return compare_marker(directory, key) is None
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError as error:
        log.warning("an artifact cannot be read", directory=str(directory), error=str(error))
        return False


async def is_as_made(directory: Path, key: str, signing: SigningFiles | None = None) -> bool | None:
    """Compare an artifact with its marker, resting in between.

    With ``signing`` it needs a signature by a trusted key. None if it cannot be read, or has no
    valid one: making it again would hide that.
    """
    try:
        keys = signing.trusted_keys() if signing is not None else None
    except KeyFileError as error:
        log.warning("artifacts cannot be verified", error=str(error))
        return None
    return await _compare(find_faults(directory, key, keys=keys), str(directory))


async def is_stored_as_made(url: str, key: str) -> bool | None:
    """Compare an artifact in a cloud bucket with its marker.

    It rests and returns as :func:`is_as_made` does.
    """
    return await _compare(find_stored_faults(url, key), url)


async def _compare(steps: Verification, place: str) -> bool | None:
    while True:
        began = time.monotonic()
        faults = await asyncio.to_thread(_advance, steps)
        if faults is not None:
            break
        await asyncio.sleep(_REST * (time.monotonic() - began))
    unread = [fault for fault in faults if fault.kind is FaultKind.UNREADABLE]
    if unread:
        log.warning("an artifact cannot be verified", directory=place, fault=str(unread[0]))
        return None
    if any(fault.kind is FaultKind.SIGNATURE for fault in faults):
        text = "the signature of an artifact is not valid; its consumers refuse it"
        log.warning(text, directory=place, fault=str(faults[0]))
        return None
    for fault in faults[:_MOST_FAULTS]:
        log.warning("a file of an artifact is damaged", directory=place, fault=str(fault))
    return not faults


def _advance(steps: Verification) -> tuple[FileFault, ...] | None:
    """Take a verification forward; return its faults once it has ended."""
    read = 0
    for _ in range(_FILES):
        try:
            read += next(steps)
        except StopIteration as end:
            _, faults = end.value
            found: tuple[FileFault, ...] = faults
            return found
        if read >= _BYTES:
            break
    return None


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    """An artifact's folder in a bucket, ``gs://…`` for one."""

    url: str

    def read_marker(self, key: str) -> tuple[Marker | None, bytes, tuple[FileFault, ...]]:
        """Read the marker of ``key``, and its content. Raises StoreError.

        The marker is None where there is none of that key, with the fault.
        """
        try:
            content = stores.end(f"{self.url}/{MARKER}", MARKER_LIMIT)
            return load_marker(json.loads(content), key), content, ()
        except stores.Missing:
            return None, b"", (marker_fault(FileNotFoundError()),)
        except (ValueError, RecursionError, CodecError) as error:
            return None, b"", (marker_fault(error),)

    def check_signature(
        self, marker: Marker, content: bytes, keys: TrustedKeys, *, demanded: bool
    ) -> tuple[Marker, str | None, tuple[FileFault, ...]]:
        """Return the marker with what is signed, the signer, and the fault.

        ``content`` is the marker's own. Raises StoreError.
        """
        try:
            signed = keys.verify(stores.end(f"{self.url}/{SIGNATURE}", SIGNATURE_LIMIT + 1))
            return signed_marker(marker, content, signed), signed.signer, ()
        except stores.Missing:
            return marker, None, (signature_fault(UNSIGNED),) if demanded else ()
        except BadSignatureError as error:
            return marker, None, (signature_fault(str(error)),)

    def compare_sizes(self, marker: Marker) -> list[FileFault]:
        """Compare the files there with a marker's list. Raises StoreError."""
        listed = {file.path for file in marker.files}
        found = {
            path: size
            for path, size in stores.sizes(self.url).items()
            # An empty object that is not listed may stand for a folder, as gcsfuse makes them.
            if not is_reserved(path) and (size or path in listed)
        }
        return list(compare_sizes(marker.files, found))

    def compare_content(self, file: ArtifactFile) -> Generator[int, None, FileFault | None]:
        """Compare a file with its digest; yields the length of each piece."""
        pieces = stores.whole(f"{self.url}/{quote(file.path)}")
        try:
            same = yield from compare_content(file, pieces)
        except stores.StoreError as error:
            return FileFault(file.path, FaultKind.UNREADABLE, str(error))
        return None if same else content_fault(file.path)


def find_stored_faults(url: str, key: str) -> Verification:
    """Compare an artifact in a bucket with its marker, file by file.

    Yields and returns as ``find_faults`` does. What cannot be read is a fault, and so is a marker
    that is not there: the URL may mean another place to the environment than to the runs.
    """
    artifact = StoredArtifact(url.rstrip("/"))
    try:
        marker, _, faults = artifact.read_marker(key)
        if marker is None:
            return None, tuple(FileFault(f.path, FaultKind.UNREADABLE, f.message) for f in faults)
        found = artifact.compare_sizes(marker)
    except stores.StoreError as error:
        return None, (FileFault(MARKER, FaultKind.UNREADABLE, str(error)),)
    wrong = {fault.path for fault in found}
    for file in marker.files:
        if file.sha256 is not None and file.path not in wrong:
            fault = yield from artifact.compare_content(file)
            if fault is not None:
                found.append(fault)
    return marker, tuple(found)
