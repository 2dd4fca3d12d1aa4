"""Real folders in a command's reach, never those behind its links.

A command may put a link in the place of its directory or of a folder there, and the engine may
be permitted to write where the command is not.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from reconciler.engines.local.fsync import remove_tree

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def is_folder(path: Path) -> bool:
    """Return whether a path is a real folder."""
    return path.is_dir() and not path.is_symlink()


def have_folder(path: Path) -> None:
    """Make a real folder, replacing anything that a command put there."""
    if not is_folder(path):
        remove_tree(path)
    path.mkdir(parents=True, exist_ok=True)


@contextmanager
def open_folder(path: Path, *names: str) -> Iterator[int]:
    """Open a folder, or the one that ``names`` lead to in it.

    Raises OSError where one of them is a link.
    """
    handle = os.open(path, _FOLDER)
    try:
        for name in names:
            outer, handle = handle, os.open(name, _FOLDER, dir_fd=handle)
            os.close(outer)
        yield handle
    finally:
        os.close(handle)


def open_logs(path: Path) -> AbstractContextManager[int]:
    """Open the folder of logs in an artifact's directory."""
    return open_folder(path.parent, path.name)


def create_in(folder: int, name: str, access: int = os.O_WRONLY) -> int:
    """Create a file in an open folder. Raises FileExistsError."""
    return os.open(name, access | _NEW, 0o644, dir_fd=folder)


def replace_in(folder: int, name: str, data: bytes, *, durable: bool) -> None:
    """Replace a file of an open folder at once."""
    temporary = f".{name}.{secrets.token_hex(4)}"
    try:
        with os.fdopen(create_in(folder, temporary), "wb") as stream:
            stream.write(data)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        raise
    if durable:
        os.fsync(folder)
