"""Artifacts that tries have left, by the markers beside an object's artifacts."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from reconciler.codec import CodecError
from reconciler.engines.local.fsync import read_json
from reconciler.engines.local.marker import MARKER, load_marker
from reconciler.engines.local.tries import LOCAL
from reconciler.types import JSON, Commit, Metrics, TaskKey, TaskKind

_KEY = re.compile("[0-9a-f]{40}")
_COMMIT = re.compile("[0-9a-f]{40}([0-9a-f]{24})?")
#: Folders that are looked at, and bytes of a marker: of some 100,000 files.
_MOST = 2000
_LARGEST = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TryArtifact:
    """An artifact of a try, as its marker has it.

    ``seconds`` are of its last attempt, ``image_key`` is of the build of its image.
    """

    key: TaskKey
    task: TaskKind
    path: Path
    finished: datetime
    params: Mapping[str, JSON]
    metrics: Metrics
    image_key: str | None
    source: Commit | None
    seconds: float
    gpu_seconds: float


def find_tries(
    folder: Path, known: Container[str], *, markers: Sequence[str] = (MARKER,)
) -> Iterator[TryArtifact]:
    """Yield the artifacts of tries in an object's folder, without known keys.

    What cannot be read is passed over. At most the first 2,000 keys are looked at. ``markers`` are
    the names that a marker may have.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(each.name for each in entries if each.is_dir(follow_symlinks=False))
    except OSError:
        return
    for name in [each for each in names if _KEY.fullmatch(each) and each not in known][:_MOST]:
        found = next((each for each in (_read(folder / name, m) for m in markers) if each), None)
        if found is not None:
            yield found


def _read(path: Path, name: str) -> TryArtifact | None:
    """Return the artifact of a try; None for any other."""
    try:
        content = read_json(path / name, _LARGEST)
        if not isinstance(content, dict) or content.get(LOCAL) is not True:
            return None
        marker = load_marker(content, path.name)
        task = TaskKind(str(content.get("task")))
    except (OSError, ValueError, CodecError):
        return None
    params, source = content.get("params"), content.get("source")
    commit = str(source.get("commit")) if isinstance(source, dict) else ""
    image = str(content.get("image")).rpartition("/")[2]
    result = marker.result(path.as_uri())
    return TryArtifact(
        key=TaskKey(path.name),
        task=task,
        path=path,
        finished=marker.finished,
        params=params if isinstance(params, dict) else {},
        metrics=result.metrics,
        image_key=image if _KEY.fullmatch(image) else None,
        source=Commit(commit) if _COMMIT.fullmatch(commit) else None,
        seconds=marker.duration_seconds,
        gpu_seconds=result.gpu_seconds,
    )
