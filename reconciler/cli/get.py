"""``reconciler get``."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

import click

from reconciler import stores
from reconciler.cli.options import config_option, load_if_there
from reconciler.cli.recorded_state import StateReader
from reconciler.cli.select import kind_option, name_argument, namespace_option, select_artifact
from reconciler.cli.try_artifacts import tries_of
from reconciler.codec import CodecError
from reconciler.engines.local import MARKER, ArtifactFile, Marker, is_reserved, load_marker
from reconciler.errors import ReconcilerError
from reconciler.review import counted, printable, shown_size
from reconciler.types import TaskKey

_LONGEST_MARKER = 256 << 20
_CHUNK = 1 << 20


class IncompleteArtifactError(ReconcilerError):
    """An artifact whose files are not those of its marker."""


@click.command()
@name_argument(required=True)
@click.argument("rest", nargs=-1, required=True, metavar="[KEY] DIR")
@namespace_option
@kind_option
@config_option
def get(
    name: str, rest: tuple[str, ...], namespace: str | None, kind: str | None, config_file: Path
) -> None:
    """Copy an artifact to the new folder DIR, checked against its marker.

    NAME is a Model or Dataset, whose current artifact is meant, or a key. KEY, or its first 6 or
    more digits, names an earlier artifact of the object, or that of a try on this machine.

    The size of each file, and its SHA-256 where it was recorded, must be as in completed.json,
    which is copied as well. The folder gets its name when all of it is there: after an error or
    Ctrl-C there is none. DIR must not exist, or be empty.

    An artifact is read from this machine's disk, or from an s3://, gs:// or az:// bucket with the
    credentials in your environment.
    """
    if len(rest) > 2:
        raise click.UsageError(f"expected NAME [KEY] DIR, found {len(rest) + 1} arguments")
    key = rest[0] if len(rest) == 2 else None
    target = Path(rest[-1]).absolute()
    _check_target(target)
    setup = load_if_there(config_file)
    state = StateReader(setup, Path()).read()
    state.check_synced()
    state.records.update(tries_of(state.records, setup, name=name))
    ref, found, url = select_artifact(state, name, key, namespace=namespace, kind=kind)
    marker = _copy(url.rstrip("/"), found, target)
    files = f"{counted(len(marker.files), 'file')}, {shown_size(sum(f.size for f in marker.files))}"
    click.echo(f"{ref}, artifact {found[:12]}: {files} in {printable(str(target))}")


def _check_target(target: Path) -> None:
    """Raise UsageError unless a folder can be made there."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise click.UsageError(f"{target} is there already")
    if target.is_dir() and next(target.iterdir(), None) is not None:
        raise click.UsageError(f"{target} is there already, and not empty")
    if not target.parent.is_dir():
        raise click.UsageError(f"there is no folder {target.parent}")


def _copy(url: str, key: TaskKey, target: Path) -> Marker:
    """Copy an artifact, and give it its name once it is whole.

    Raises IncompleteArtifactError, StoreError and OSError.
    """
    data = b"".join(_read(url, MARKER, limit=_LONGEST_MARKER))
    try:
        marker = load_marker(json.loads(data), key)
    except (ValueError, RecursionError, CodecError) as error:
        raise IncompleteArtifactError(f"{url}/{MARKER} is no marker of {key}: {error}") from error
    partial = Path(tempfile.mkdtemp(prefix=".reconciler-get-", dir=target.parent))
    try:
        partial.chmod(0o755)
        for file in marker.files:
            _check_path(file.path)
            place = partial / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            written = _write(place, _read(url, file.path, limit=file.size))
            _check_content(url, file, *written)
        _write(partial / MARKER, iter([data]))
        with suppress(FileNotFoundError):
            target.rmdir()
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return marker


def _check_content(url: str, file: ArtifactFile, size: int, digest: str) -> None:
    """Raise IncompleteArtifactError for other content than the marker's."""
    if size != file.size or file.sha256 not in (None, digest):
        raise IncompleteArtifactError(
            f"{printable(file.path)[:200]} of {url} is not as it was made; `reconciler verify` "
            "lists what differs"
        )


def _check_path(path: str) -> None:
    """Raise IncompleteArtifactError for a path that is no artifact's file."""
    parts = PurePosixPath(path).parts
    if not parts or parts[0] == "/" or ".." in parts or "\0" in path or is_reserved(path):
        raise IncompleteArtifactError(
            f"the marker names {printable(path)[:200]!r}, which is no file of an artifact"
        )


def _read(url: str, path: str, *, limit: int) -> Iterator[bytes]:
    """Yield a file of an artifact, at most ``limit`` + 1 bytes."""
    split = urlsplit(url)
    if split.scheme == "file":
        pieces = _on_disk(Path(unquote(split.path)), path)
    elif split.scheme in stores.SCHEMES:
        pieces = stores.whole(f"{url}/{quote(path)}")
    else:
        raise click.ClickException(
            f"{url} cannot be read from here: only file:// and "
            f"{', '.join(f'{scheme}://' for scheme in stores.SCHEMES)} can"
        )
    left = limit + 1
    for piece in pieces:
        yield piece[:left]
        left -= len(piece)
        if left <= 0:
            return


def _on_disk(folder: Path, path: str) -> Iterator[bytes]:
    if not folder.is_dir():
        raise click.ClickException(
            f"there is no folder {folder} here; the artifact is on the disk of the machine that "
            "made it: call this command there"
        )
    file = (folder / path).resolve()
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        raise IncompleteArtifactError(f"{folder / path} is no file of the artifact")
    with file.open("rb") as stream:
        while piece := stream.read(_CHUNK):
            yield piece


def _write(file: Path, pieces: Iterator[bytes]) -> tuple[int, str]:
    """Write a new file, durably; return its size and SHA-256."""
    size, digest = 0, hashlib.sha256()
    with file.open("xb") as stream:
        for piece in pieces:
            stream.write(piece)
            digest.update(piece)
            size += len(piece)
        stream.flush()
        os.fsync(stream.fileno())
    return size, digest.hexdigest()
