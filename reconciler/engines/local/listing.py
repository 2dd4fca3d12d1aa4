"""Listings of folders on this machine's disk.

A version is the time of a file's last modification, in nanoseconds. Of a symbolic link it is the
link's text: links are not followed, so that a listing never leads out of its folder.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from reconciler.engine import (
    LISTING_PATIENCE,
    EngineError,
    ListingBuilder,
    ListingTooLargeError,
)
from reconciler.engines.local.layout import path_of
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import DataListing

_DEEPEST = 200


class FolderError(Exception):
    """A folder that cannot be listed, with the cause."""


def list_url(url: str) -> DataListing:
    """List the folder at a file URL, within a time. Raises EngineError."""
    end = time.monotonic() + LISTING_PATIENCE

    def go_on() -> None:
        if time.monotonic() > end:
            raise FolderError(f"it takes longer than {LISTING_PATIENCE:.0f} s")

    path = path_of(url)
    if path is None:
        raise _unlisted(url, "the local engine lists file URLs alone; give a revision")
    try:
        return list_folder(path, go_on)
    except FolderError as error:
        raise _unlisted(url, str(error)) from error


def _unlisted(url: str, why: str) -> EngineError:
    detail = f"{url} cannot be listed: {why}"
    return EngineError(Reason.of(ReasonCode.SOURCE_UNAVAILABLE, detail=detail))


def list_folder(folder: Path, go_on: Callable[[], None] = lambda: None) -> DataListing:
    """List a folder, or the file at its place. Raises FolderError.

    ``go_on`` is called before each folder in it, and may raise to end the listing. ``folder`` may
    itself be a link. A file that goes away meanwhile is an error: a later listing is whole.
    """
    builder = ListingBuilder()
    try:
        root = folder.resolve(strict=True)
        if not root.is_dir():
            found = root.stat()
            builder.add(b"", size=found.st_size, version=b"%d" % found.st_mtime_ns)
            return builder.listing()
        for path, status, link in _entries(root, builder, go_on):
            version = link if link is not None else b"%d" % status.st_mtime_ns
            builder.add(path, size=0 if link is not None else status.st_size, version=version)
    except FileNotFoundError as error:
        shown = os.fsdecode(error.filename) if error.filename else str(folder)
        raise FolderError(f"{shown} is not there") from error
    except OSError as error:
        raise FolderError(f"{error.strerror or error}") from error
    except (ListingTooLargeError, RuntimeError) as error:  # RuntimeError: a link to itself
        raise FolderError(str(error)) from error
    return builder.listing()


def _entries(
    root: Path, builder: ListingBuilder, go_on: Callable[[], None]
) -> Iterator[tuple[bytes, os.stat_result, bytes | None]]:
    """Yield path, status and link text of all but folders, in order."""
    waiting = [(b"", iter(_sorted(b"", root, builder, go_on)))]
    while waiting:
        folder, entries = waiting[-1]
        entry = next(entries, None)
        if entry is None:
            waiting.pop()
            continue
        path = folder + os.fsencode(entry.name)
        status = entry.stat(follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            link = os.fsencode(Path(entry.path).readlink()) if entry.is_symlink() else None
            yield path, status, link
            continue
        if len(waiting) >= _DEEPEST:
            raise FolderError(f"it has more than {_DEEPEST} folders in each other")
        waiting.append((path + b"/", iter(_sorted(path, Path(entry.path), builder, go_on))))


def _sorted(
    path: bytes, folder: Path, builder: ListingBuilder, go_on: Callable[[], None]
) -> list[os.DirEntry[str]]:
    """Return the entries of a folder, which count as they are read."""
    go_on()
    builder.count(path)
    found: list[os.DirEntry[str]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            found.append(entry)
            builder.check(len(found))
    return sorted(found, key=lambda entry: os.fsencode(entry.name))
