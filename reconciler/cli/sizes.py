"""Sizes of artifact directories, if readable from here."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from reconciler.cli import stores
from reconciler.engines.local import MARKER

#: Markers read from stores at a time, and bytes of one: 64 MiB name 500,000 files.
_CONCURRENCY = 16
_LONGEST_MARKER = 64 << 20


def sizes(urls: Iterable[str]) -> dict[str, int | None]:
    """Bytes of each directory; None where they cannot be read from here.

    The size is that of the marker; a directory on this disk without a marker is measured.
    """
    closed: set[str] = set()  # stores that have refused, and are not asked again
    distinct = list(dict.fromkeys(urls))
    with ThreadPoolExecutor(_CONCURRENCY) as pool:
        return dict(zip(distinct, pool.map(lambda url: _size(url, closed), distinct), strict=True))


def _size(url: str, closed: set[str]) -> int | None:
    split = urlsplit(url)
    if split.scheme == "file":
        return _on_disk(Path(unquote(split.path)))
    store = f"{split.scheme}://{split.netloc}"
    if split.scheme not in stores.SCHEMES or store in closed:
        return None
    try:
        return _marker_size(stores.end(f"{url.rstrip('/')}/{MARKER}", _LONGEST_MARKER))
    except stores.Missing:
        return None
    except stores.StoreError:
        closed.add(store)
        return None


def _on_disk(folder: Path) -> int | None:
    if not folder.is_dir():
        return None
    with suppress(OSError):
        size = _marker_size((folder / MARKER).read_bytes())
        if size is not None:
            return size
    return sum(
        Path(root, file).lstat().st_size for root, _, files in os.walk(folder) for file in files
    )


def _marker_size(marker: bytes) -> int | None:
    """The sizes of a marker's files together; None if it is none."""
    try:
        return sum(int(file["size"]) for file in json.loads(marker)["files"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
