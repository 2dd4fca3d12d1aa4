"""The completion marker, which makes a directory an artifact.

``completed.json`` is written last, after the command succeeded and every file is durable. It
lists the artifact's files with their sizes, and with their SHA-256 where the engine has read them
anyway; where the list does not match, there is no marker. Beside its own members it has those of
the lineage. With a key, ``model.sig`` is signed just before the marker is put in its place, over
the marker itself too: so the files of one key are never taken for those of another.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NewType

import msgspec

from reconciler.codec import Codec, CodecError
from reconciler.engine import (
    Result,
    ResultWarning,
    metric_of,
    metrics_of,
    newest_attempt,
    warnings_of,
)
from reconciler.engines.local.failures import ArtifactError
from reconciler.engines.local.folders import is_folder, open_logs, replace_in
from reconciler.engines.local.fsync import (
    encode,
    read_json,
    remove_tree,
    replace,
    sync_digested,
    sync_file,
    sync_tree,
)
from reconciler.reasons import Reason, ReasonCode
from reconciler.signing import SIGNATURE, BadSignatureError, SignedFiles, SigningKey
from reconciler.types import JSON, Metrics, TaskKind

MARKER = "completed.json"
LOGS = "logs"
#: The member of a lineage, and of a marker, that a try has.
LOCAL = "local"
#: Beside the logs of a try; where it failed, nothing else tells of it.
TRY = "try.json"
_RESERVED_PREFIX = ".reconciler"
_VERSION = 1
_LARGEST_NOTE = 1 << 10
MARKER_LIMIT = 256 << 20
#: Bytes that a file of an artifact may be said to have.
_LARGEST_FILE = (1 << 63) - 1


Sha256 = NewType("Sha256", str)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactFile:
    """A file of an artifact, by its path there; size in bytes."""

    path: str
    size: int
    sha256: Sha256 | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """A valid marker's content, but for the lineage.

    The times are of the attempt that succeeded, whose number is ``attempt``; ``gpu_seconds`` are of
    the whole run, failed attempts too, as that is what the artifact cost. Of what becomes part of a
    result, that which cannot be used is passed over.
    """

    key: str
    metrics: JSON
    warnings: JSON = None
    started: datetime
    finished: datetime
    duration_seconds: float
    gpu_seconds: JSON
    attempt: int
    files: tuple[ArtifactFile, ...]

    def result(self, url: str) -> Result:
        """The artifact at ``url`` as a run's result."""
        return Result(
            url=url,
            metrics=metrics_of(self.metrics),
            gpu_seconds=max(0.0, float(metric_of(self.gpu_seconds) or 0)),
            warnings=warnings_of(self.warnings),
        )


_CODEC = Codec(
    Marker, timespec="microseconds", forms={Sha256: msgspec.Meta(pattern="^[0-9a-f]{64}$")}
)


def list_files(directory: Path, *, external: bool = False) -> list[tuple[str, int]]:
    """List the artifact's files with their sizes, in bytes.

    Reserved files are left out; of an ``external`` folder, which no task made, only a signature is.
    A symbolic link to a file of the artifact counts as that file. Raises ArtifactError for any
    other link, as the artifact would change or break with its target, for a name that is not
    UTF-8, which no JSON can list, and for one with a line break, which no list by lines can.
    """
    root = directory.resolve()
    found: list[tuple[str, int]] = []
    paths = list(_entries(root, external=external))
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


def _entries(root: Path, *, external: bool = False) -> Iterator[Path]:
    """Yield what is below a directory, without what is reserved. Raises OSError.

    A folder that cannot be read is none that is empty.
    """

    def fail(error: OSError) -> None:
        raise error

    for folder, folders, files in os.walk(root, onerror=fail):
        here = Path(folder)
        if here == root and external:
            files = [f for f in files if f != SIGNATURE]  # noqa: PLW2901
        elif here == root:
            folders[:] = [f for f in folders if f != LOGS and not _reserved(f)]
            files = [f for f in files if not _reserved(f)]  # noqa: PLW2901
        for name in files + folders:
            yield here / name


def is_reserved(path: str) -> bool:
    """Return whether a file's path is not part of the artifact."""
    top, *below = path.split("/", 1)
    return _reserved(top) or (top == LOGS and bool(below))


def _reserved(name: str) -> bool:
    return name in (MARKER, SIGNATURE) or name.startswith(_RESERVED_PREFIX)


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


def make_durable(directory: Path) -> dict[str, Sha256]:
    """Make an artifact's tree durable; return the SHA-256 of its files.

    They are by path, and without those of links.
    """
    root, digests = directory.resolve(), dict[str, Sha256]()

    def sync(file: Path) -> None:
        path = file.relative_to(root).as_posix()
        if is_reserved(path):
            sync_file(file)
        else:
            digests[path] = Sha256(sync_digested(file))

    sync_tree(root, sync)
    return digests


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
    digests: Mapping[str, Sha256] | None = None,
    signing_key: SigningKey | None = None,
) -> Marker:
    """Complete an artifact whose files are durable. Raises ArtifactError.

    ``digests`` are those that :func:`make_durable` found.
    """
    root, known = directory.resolve(), digests or {}

    def digest(path: str) -> Sha256 | None:
        link = known and path not in known
        return known.get((root / path).resolve().relative_to(root).as_posix() if link else path)

    files = tuple(
        ArtifactFile(path=path, size=size, sha256=digest(path))
        for path, size in list_files(directory)
    )
    told: list[JSON] = [warning.to_json() for warning in warnings]
    if not files:
        told.append(ResultWarning.of(Reason.of(ReasonCode.ARTIFACT_EMPTY)).to_json())
    marker = Marker(
        key=key,
        metrics=dict(metrics),
        warnings=told or None,
        started=started,
        finished=finished,
        duration_seconds=round((finished - started).total_seconds(), 3),
        gpu_seconds=round(gpu_seconds, 3),
        attempt=attempt,
        files=files,
    )
    content = encode({**lineage, "version": _VERSION, **_CODEC.dump(marker)})
    if signing_key is not None:
        replace(directory / SIGNATURE, _signed(directory, marker, content, signing_key))
    replace(directory / MARKER, content)
    return marker


def note_try(directory: Path, task: TaskKind) -> None:
    """Name the task of a try beside its logs. Raises OSError."""
    note = directory / LOGS / TRY
    with open_logs(note.parent) as folder:
        if is_folder(note):
            remove_tree(note)
        content = encode({"version": _VERSION, "task": task.value})
        replace_in(folder, TRY, content, durable=True)


def read_try(directory: Path) -> TaskKind | None:
    """Return the task of a try; None where none is named."""
    try:
        content = read_json(directory / LOGS / TRY, _LARGEST_NOTE)
        if not isinstance(content, dict) or content.get("version") != _VERSION:
            return None
        return TaskKind(str(content.get("task")))
    except (OSError, ValueError):
        return None


def _signed(directory: Path, marker: Marker, content: bytes, key: SigningKey) -> bytes:
    """Sign an artifact's files and its marker's content."""
    files: dict[str, str] = {file.path: file.sha256 for file in marker.files if file.sha256}
    files[MARKER] = hashlib.sha256(content).hexdigest()
    names = {path.name for path in directory.iterdir()} - {MARKER}
    ignored = [name for name in names if is_reserved(f"{name}/")]
    links = any(path.is_symlink() for path in _entries(directory.resolve()))
    return key.sign(directory.name, files, ignored=ignored, links=links)


def signed_marker(marker: Marker, content: bytes, signature: SignedFiles) -> Marker:
    """Return a marker with the digests of a valid signature.

    ``content`` is the marker's file. Raises BadSignatureError if the signature is over another one,
    or does not cover a file.
    """
    signed = signature.files
    if signed.get(MARKER) != hashlib.sha256(content).hexdigest():
        raise BadSignatureError(f"{MARKER} is not as it was signed")
    files = []
    for file in marker.files:
        digest = signed.get(file.path, file.sha256)
        if digest is None:
            raise BadSignatureError(f"{file.path[-300:]} is not signed")
        if file.sha256 not in (None, digest):
            raise BadSignatureError(f"{file.path[-300:]} is signed with another content")
        files.append(dataclasses.replace(file, sha256=Sha256(digest)))
    listed = {file.path for file in files}
    for path in signed:
        if path not in listed and not is_reserved(path):
            raise BadSignatureError(f"{path[-300:]} is signed, and is no file of {MARKER}")
    return dataclasses.replace(marker, files=tuple(files))


def load_marker(content: JSON, key: str) -> Marker:
    """Return the marker of ``key`` in a document. Raises CodecError."""
    if not isinstance(content, dict) or content.get("version") != _VERSION:
        raise CodecError(f"version: expected {_VERSION}")
    marker = _CODEC.load(content)
    if marker.key != key:
        raise CodecError(f"key: expected {key}")
    for file in marker.files:
        if not 0 <= file.size <= _LARGEST_FILE:
            raise CodecError(f"files: the size of {file.path[:200]} is impossible")
    return marker


def read_marker(directory: Path, key: str) -> Marker | None:
    """Read the marker of ``key``'s artifact; None without a valid one."""
    try:
        return compare_marker(directory, key)
    except OSError:
        return None


def compare_marker(directory: Path, key: str) -> Marker | None:
    """Read a marker as :func:`read_marker` does.

    Raises OSError for what cannot be read.
    """
    try:
        marker = load_marker(read_json(directory / MARKER, MARKER_LIMIT), key)
        found = list_files(directory)
    except (ValueError, CodecError, ArtifactError):
        return None
    return marker if [(file.path, file.size) for file in marker.files] == found else None


def last_attempt(logs: Path) -> int:
    """Return the highest number of an attempt with a log, or 0."""
    try:
        return newest_attempt([path.name for path in logs.iterdir()])
    except FileNotFoundError:
        return 0


def log_of(logs: Path, attempt: int) -> Path:
    """Return the log file of an attempt."""
    return logs / f"attempt-{attempt}.log"


def curves_of(logs: Path, attempt: int) -> Path:
    """Return the file with the curves of an attempt."""
    return logs / f"progress-{attempt}.jsonl"
