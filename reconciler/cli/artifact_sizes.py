"""Sizes of artifacts, by their markers or on this machine's disk."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urlsplit

from reconciler import stores
from reconciler.engines.local import ArtifactPlaceError, ArtifactPlaces
from reconciler.types import TaskKey

#: Markers read at a time.
_CONCURRENCY = 16


def sizes(artifacts: Iterable[tuple[str, TaskKey]]) -> dict[str, int | None]:
    """Return the bytes of artifacts by URL; None if unreadable.

    ``artifacts`` are URLs with their keys. The size is that of the marker; a directory on this disk
    without a valid marker is measured.
    """
    closed: set[str] = set()  # stores that have refused, and are not asked again
    distinct = dict(artifacts)
    with ThreadPoolExecutor(_CONCURRENCY) as pool:
        found = pool.map(lambda url: _size(url, distinct[url], closed), distinct)
        return dict(zip(distinct, found, strict=True))


def _size(url: str, key: TaskKey, closed: set[str]) -> int | None:
    split = urlsplit(url)
    store = f"{split.scheme}://{split.netloc}"
    if split.scheme not in (*stores.SCHEMES, "file") or store in closed:
        return None
    try:
        facts = ArtifactPlaces().read(url, key)
    except ArtifactPlaceError as error:
        if error.refused:
            closed.add(store)
        facts = None
    if facts is not None:
        return facts.size
    return _measured(Path(unquote(split.path))) if split.scheme == "file" else None


def _measured(folder: Path) -> int | None:
    if not folder.is_dir():
        return None
    return sum(
        Path(root, file).lstat().st_size for root, _, files in os.walk(folder) for file in files
    )
