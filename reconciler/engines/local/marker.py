"""The completion marker, which makes a directory an artifact.

``completed.json`` is written last, after the command succeeded and every file is durable. It
lists the artifact's files with their sizes; where the list does not match, there is no marker.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from reconciler.engine import (
    Result,
    ResultWarning,
    metric_of,
    metrics_of,
    newest_attempt,
    warnings_of,
)
from reconciler.engines.local.failures import ArtifactError
from reconciler.engines.local.fsync import encode, read_json, replace
from reconciler.engines.local.state import write_time
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import JSON, Metrics

MARKER = "completed.json"
LOGS = "logs"
_RESERVED_PREFIX = ".reconciler"
_VERSION = 1
_MARKER_LIMIT = 256 << 20


@dataclass(frozen=True, slots=True)
class Marker:
    """A valid marker's content, but for the files."""

    key: str
    content: Mapping[str, JSON]

    def result(self, url: str) -> Result:
        """The artifact at ``url`` as a run's result."""
        seconds = metric_of(self.content.get("gpuSeconds"))
        return Result(
            url=url,
            metrics=metrics_of(self.content.get("metrics")),
            gpu_seconds=max(0.0, float(seconds or 0)),
            warnings=warnings_of(self.content.get("warnings")),
        )


def list_files(directory: Path) -> list[tuple[str, int]]:
    """List the artifact's files with their sizes, in bytes.

    Reserved files are left out.
    A symbolic link to a file of the artifact counts as that file. Raises ArtifactError for any
    other link, as the artifact would change or break with its target, for a name that is not
    UTF-8, which no JSON can list, and for one with a line break, which no list by lines can.
    """
    root = directory.resolve()
    found: list[tuple[str, int]] = []
    paths = list(_entries(root))
    if any("\n" in path.name for path in paths):
        raise ArtifactError("the name of a file in the artifact has a line break; rename it")
    for path in paths:
        if path.is_symlink():
            _check_link(path, root)
        if path.is_file():
            found.append((path.relative_to(root).as_posix(), path.stat().st_size))
    try:
        "".join(name for name, _ in found).encode()
    except UnicodeEncodeError as error:
        raise ArtifactError("the name of a file in the artifact is not UTF-8; rename it") from error
    return sorted(found)


def make_links_relative(directory: Path) -> None:
    """Replace links that hold in this directory alone.

    A consumer may find the artifact at another place: a bucket is moved, a cluster mounts it as
    the base. Raises ArtifactError for a link that cannot be replaced.
    """
    root = directory.resolve()
    for path in [path for path in _entries(root) if path.is_symlink()]:
        target = path.readlink()
        if not target.is_absolute() and ".." not in target.parts:
            continue
        _check_link(path, root)
        new = path.with_name(f"{_RESERVED_PREFIX}-link")
        try:
            new.symlink_to(os.path.relpath(path.resolve(), path.parent))
            new.replace(path)
        except OSError as error:
            raise ArtifactError(
                f'the symbolic link "{_relative(path, root)}" holds in this directory alone, and '
                "cannot be replaced; make it relative"
            ) from error


def _entries(root: Path) -> Iterator[Path]:
    """Yield what is below a directory, without what is reserved."""
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        if here == root:
            folders[:] = [f for f in folders if f != LOGS and not _reserved(f)]
            files = [f for f in files if not _reserved(f)]  # noqa: PLW2901
        for name in files + folders:
            yield here / name


def _reserved(name: str) -> bool:
    return name == MARKER or name.startswith(_RESERVED_PREFIX)


def _relative(path: Path, root: Path) -> str:
    return os.fsencode(path.relative_to(root)).decode(errors="replace")


def _check_link(path: Path, root: Path) -> None:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise ArtifactError(
            f'the symbolic link "{_relative(path, root)}" in the artifact leads nowhere; remove it'
        ) from error
    if not target.is_relative_to(root):
        raise ArtifactError(
            f'the symbolic link "{_relative(path, root)}" leads out of the artifact; '
            "copy the file instead"
        )


def write_marker(
    directory: Path,
    *,
    key: str,
    lineage: Mapping[str, JSON],
    metrics: Metrics,
    warnings: Iterable[ResultWarning] = (),
    started: datetime,
    finished: datetime,
    gpu_seconds: float,
    attempt: int,
) -> Marker:
    """Complete an artifact whose files are durable. Raises ArtifactError.

    The times are of the attempt that succeeded; ``gpu_seconds`` are of the whole run, failed
    attempts too, as that is what the artifact cost.
    """
    files: list[JSON] = [{"path": path, "size": size} for path, size in list_files(directory)]
    told: list[JSON] = [warning.to_json() for warning in warnings]
    if not files:
        told.append(ResultWarning.of(Reason.of(ReasonCode.ARTIFACT_EMPTY)).to_json())
    content: dict[str, JSON] = {
        **lineage,
        "version": _VERSION,
        "key": key,
        "metrics": dict(metrics),
        **({"warnings": told} if told else {}),
        "started": write_time(started),
        "finished": write_time(finished),
        "durationSeconds": round((finished - started).total_seconds(), 3),
        "gpuSeconds": round(gpu_seconds, 3),
        "attempt": attempt,
    }
    replace(directory / MARKER, encode(content | {"files": files}))
    return Marker(key, content)


def read_marker(directory: Path, key: str) -> Marker | None:
    """Read the marker of ``key``'s artifact; None without a valid one."""
    try:
        content = read_json(directory / MARKER, _MARKER_LIMIT)
        if not isinstance(content, dict) or content.get("key") != key:
            return None
        files = content.pop("files", None)
        if not isinstance(files, list) or content.get("version") != _VERSION:
            return None
        found: list[JSON] = [{"path": path, "size": size} for path, size in list_files(directory)]
    except (OSError, ValueError, ArtifactError):
        return None
    return Marker(key, content) if files == found else None


def last_attempt(logs: Path) -> int:
    """Return the highest number of an attempt with a log, or 0."""
    try:
        return newest_attempt([path.name for path in logs.iterdir()])
    except FileNotFoundError:
        return 0


def log_of(logs: Path, attempt: int) -> Path:
    """Return the log file of an attempt."""
    return logs / f"attempt-{attempt}.log"
