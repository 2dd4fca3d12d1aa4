"""Durable files, whole or absent after a power loss; read-only trees."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from reconciler.types import JSON

_WRITE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


def sync_directory(path: Path) -> None:
    """Make the entries of a directory durable."""
    sync_file(path)


def sync_file(path: Path) -> None:
    """Make the content of a file durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_digested(path: Path) -> str:
    """Make the content of a file durable; return its SHA-256."""
    with path.open("rb", buffering=0) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    return digest


def write_new(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a new file, durable once its directory is synced."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace(path: Path, data: bytes) -> None:
    """Replace a file at once: readers find the old or new content."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        write_new(temporary, data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def encode(value: JSON) -> bytes:
    """Encode JSON, indented for a human reader."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def read_json(path: Path, limit: int = 16 << 20) -> JSON:
    """Read the JSON document in a file of at most ``limit`` bytes.

    Raises OSError, and ValueError for anything that is not JSON or longer than that.
    """
    return parse_json(path, read_bounded(path, limit))


def read_bounded(path: Path, limit: int) -> bytes:
    """Read a file of at most ``limit`` bytes. Raises OSError and ValueError."""
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"{path} is larger than {limit} bytes")
    return data


def parse_json(path: Path, data: bytes) -> JSON:
    """Return the JSON document in a file's content. Raises ValueError."""
    try:
        value: JSON = json.loads(data)
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deep") from error
    return value


def sync_tree(root: Path, sync: Callable[[Path], object] = sync_file) -> None:
    """Make a tree durable, contents before their directories.

    ``sync`` makes a regular file durable.
    """
    for folder, _, files in os.walk(root, topdown=False):
        here = Path(folder)
        for name in files:
            path = here / name
            if stat.S_ISREG(path.lstat().st_mode):
                sync(path)
        sync_directory(here)


def make_read_only(root: Path, *, directories_only: bool = False) -> None:
    """Remove every write bit of a tree. Symbolic links are not followed."""
    for folder, _, files in os.walk(root, topdown=False):
        here = Path(folder)
        if not directories_only:
            for name in files:
                _change(here / name, remove=_WRITE)
        _change(here, remove=_WRITE)


def make_writable(root: Path) -> None:
    """Restore the owner's write bit of a tree."""
    _change(root, add=stat.S_IWUSR | stat.S_IXUSR | stat.S_IRUSR)
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        for name in folders:
            _change(here / name, add=stat.S_IWUSR | stat.S_IXUSR | stat.S_IRUSR)
        for name in files:
            _change(here / name, add=stat.S_IWUSR)


def _change(path: Path, *, add: int = 0, remove: int = 0) -> None:
    mode = path.lstat().st_mode
    wanted = (stat.S_IMODE(mode) | add) & ~remove
    if not stat.S_ISLNK(mode) and wanted != stat.S_IMODE(mode):
        path.chmod(wanted)


def remove_tree(path: Path) -> None:
    """Remove a tree, read-only directories too; absent is fine."""
    if not path.is_symlink() and path.is_dir():
        make_writable(path)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
