"""Artifacts that tries have left, by the markers beside an object's artifacts."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from reconciler.codec import CodecError
from reconciler.engine import ATTEMPT_LOG
from reconciler.engines.local.artifact_places import ArtifactState
from reconciler.engines.local.fsync import read_json
from reconciler.engines.local.marker import LOCAL, LOGS, MARKER, TRY, load_marker, read_try
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


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedTry:
    """The folder of a try that has left no artifact.

    ``ended`` is the last change of its logs.
    """

    key: TaskKey
    task: TaskKind
    path: Path
    ended: datetime


def find_tries(
    folder: Path, known: Container[str], *, markers: Sequence[str] = (MARKER,)
) -> Iterator[TryArtifact]:
    """Yield the artifacts of tries in an object's folder, without known keys.

    What cannot be read is passed over. At most the first 2,000 keys are looked at. ``markers`` are
    the names that a marker may have.
    """
    for name in _unknown(folder, known):
        found = next((each for each in (_read(folder / name, m) for m in markers) if each), None)
        if found is not None:
            yield found


def find_failed_tries(folder: Path, known: Container[str]) -> Iterator[FailedTry]:
    """Yield the folders of failed tries in an object's folder.

    Those of known keys are left out. What cannot be read is passed over. At most the first 2,000
    keys are looked at.
    """
    for name in _unknown(folder, known):
        found = _read_failed(folder / name)
        if found is not None:
            yield found


def _unknown(folder: Path, known: Container[str]) -> list[str]:
    """Return the names of the folders of keys that are not known."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(each.name for each in entries if each.is_dir(follow_symlinks=False))
    except OSError:
        return []
    return [each for each in names if _KEY.fullmatch(each) and each not in known][:_MOST]


def _read_failed(path: Path) -> FailedTry | None:
    """Return what a failed try has left; None for any other folder."""
    logs = path / LOGS
    try:
        task = read_try(path)
        if task is None or any((path / each).exists() for each in ArtifactState):
            return None
        files = [each for each in logs.iterdir() if ATTEMPT_LOG.fullmatch(each.name)]
        ended = max(each.stat().st_mtime for each in (logs / TRY, *files))
        at = datetime.fromtimestamp(ended, UTC)
    except (OSError, OverflowError, ValueError):
        return None
    return FailedTry(key=TaskKey(path.name), task=task, path=path, ended=at)


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
