"""The removal of an object, as its history in Git tells it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from reconciler.git import GitError, Repository
from reconciler.manifests import read_file
from reconciler.planner import ObjectStatus
from reconciler.types import Commit, ObjectRef

#: Commits of a manifest's file that are looked at for its removal.
_MOST_CHANGES = 50


def removal_lines(
    record: ObjectStatus, repository: Repository | None, head: Commit
) -> Iterator[tuple[int, str]]:
    """Yield lines with their depth: commit, history and way back."""
    file = record.manifest.path if record.manifest is not None else ""
    found = None
    with suppress(GitError):  # a shallow clone lacks the commits before
        found = _removal(record.ref, file, repository, head) if repository is not None else None
    if found is None or repository is None:
        was = f" from {file}" if file else ""
        yield 0, f"was removed{was}; by which commit is not known here"
    else:
        when = f"{repository.committed(found):%Y-%m-%d %H:%M} UTC"
        yield 0, f"was removed from {file} by commit {found[:12]} of {when}"
    yield 1, f"Its artifacts stay; `reconciler status --history {record.ref.name}` lists its runs."
    if found is not None:
        again = "Committed again, it runs only what is not complete."
        yield 1, f"`git show {found[:12]}^:{file}` prints its manifest. {again}"


def _removal(ref: ObjectRef, file: str, repository: Repository, head: Commit) -> Commit | None:
    """Return the commit that took an object's manifest from a file."""
    at = head
    for _ in range(_MOST_CHANGES if file else 0):
        found = repository.last_changed(at, {file})[file]
        before = repository.history(found, first_parents=True, limit=2)[1:]
        if not before or _has(ref, file, repository, found):
            return None
        if _has(ref, file, repository, before[0]):
            return found
        at = before[0]
    return None


def _has(ref: ObjectRef, file: str, repository: Repository, commit: Commit) -> bool:
    data = repository.read_file(commit, file)
    content = read_file(file, data or b"", default_namespace=ref.namespace)
    return any(manifest.ref == ref for manifest in content.manifests)
