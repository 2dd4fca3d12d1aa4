"""Git LFS pointers: small texts in place of a source's large files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from reconciler.engine import ResultWarning
from reconciler.reasons import Reason, ReasonCode

_FIRST_LINE = b"version https://git-lfs.github.com/spec/v1\n"
_LARGEST = 1024
#: Pointers that a warning names; others are counted.
_NAMED = 3


def lfs_warning(tree: Path) -> ResultWarning | None:
    """Return the warning of a source with pointers, if it has any."""
    found = sorted(_pointers(tree))
    if not found:
        return None
    more = f", and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    files = ", ".join(found[:_NAMED]) + more
    return ResultWarning.of(Reason.of(ReasonCode.GIT_LFS_POINTERS, files=files))


def _pointers(tree: Path) -> Iterator[str]:
    for folder, _, files in os.walk(tree):
        for path in (Path(folder, name) for name in files):
            if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST:
                continue
            with path.open("rb") as file:
                if file.readline(_LARGEST) == _FIRST_LINE:
                    yield path.relative_to(tree).as_posix()
