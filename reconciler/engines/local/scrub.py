"""Comparison of artifacts with their markers, in the daemon."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import structlog

from reconciler.engines.local.marker import compare_marker
from reconciler.engines.local.store_verification import find_stored_faults
from reconciler.engines.local.verification import FaultKind, FileFault, Verification, find_faults
from reconciler.signing import KeyFileError, SigningFiles

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
