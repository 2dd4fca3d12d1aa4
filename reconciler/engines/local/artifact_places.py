"""Places of artifacts in which a collection hides, restores and removes them.

An artifact is what its marker says it is. So all states are names of that one file, and each step
from one to the next is a rename, or in a cloud bucket a copy and then a deletion::

    completed.json  ⇄  .reconciler-collected.json  →  .reconciler-removing.json  →  nothing
       complete                  hidden                      being removed

* ``completed.json`` counts before the others: after a kill between a copy and the deletion the
  artifact is as it was before that step, and the step can be done again.
* Files are removed only under the last name, which goes last of all. So what is half removed is
  neither an artifact nor one that can be restored.
* Of a folder of this machine no symbolic link is followed, from the folder ``clusters`` on.
"""

from __future__ import annotations

import enum
import errno
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from reconciler import stores
from reconciler.codec import CodecError
from reconciler.engines.local.layout import RootLayout, path_of
from reconciler.engines.local.locks import FileLock, has_processes
from reconciler.engines.local.marker import MARKER, MARKER_LIMIT, load_marker
from reconciler.errors import ReconcilerError
from reconciler.types import JSON, TaskKey

HIDDEN_MARKER = ".reconciler-collected.json"
_REMOVING = ".reconciler-removing.json"
#: Folders of an artifact's path from ``clusters`` to its key.
_DEPTH = 7
_INPUTS = ("base", "dataset", "artifact")


class ArtifactState(enum.StrEnum):
    """An artifact's state, by the name of its marker."""

    COMPLETE = MARKER
    HIDDEN = HIDDEN_MARKER
    REMOVING = _REMOVING


class ArtifactPlaceError(ReconcilerError):
    """An artifact that cannot be read or changed.

    ``refused``: its bucket does not answer, or not to these credentials.
    """

    def __init__(self, text: str, *, refused: bool = False) -> None:
        super().__init__(text)
        self.refused = refused


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactFacts:
    """The facts in an artifact's marker: bytes and inputs.

    ``evaluated`` is the artifact that it is an evaluation of.
    """

    state: ArtifactState
    size: int
    inputs: tuple[TaskKey, ...] = ()
    evaluated: TaskKey | None = None


class _Place(Protocol):
    """The folder of one artifact."""

    def marker(self) -> tuple[ArtifactState, bytes] | None: ...
    def size(self) -> int | None: ...
    def move(self, state: ArtifactState, to: ArtifactState) -> None: ...
    def clear(self) -> int: ...


@dataclass(frozen=True, slots=True)
class ArtifactPlaces:
    """Artifacts by URL. Methods block, and raise ArtifactPlaceError.

    ``layout`` is of the local engine, whose attempts hold the lock of their key.
    """

    layout: RootLayout | None = None

    def read(self, url: str, key: TaskKey) -> ArtifactFacts | None:
        """Return the facts of an artifact; None if it is certainly gone."""
        with _told(url):
            found = _place_of(url).marker()
            return _facts(*found, key) if found is not None else None

    def hide(self, url: str, key: TaskKey) -> None:
        """Hide a complete artifact; one that is hidden stays so."""
        with _told(url), self._locked(key):
            place = _place_of(url)
            state = _state(place)
            if state is ArtifactState.COMPLETE:
                place.move(state, ArtifactState.HIDDEN)
            elif state is None:
                raise FileNotFoundError(f"it has no {MARKER}")

    def restore(self, url: str, key: TaskKey) -> bool:
        """Restore a hidden artifact; False if there is none.

        The rest of one whose removal has begun is removed.
        """
        with _told(url), self._locked(key):
            place = _place_of(url)
            state = _state(place)
            if state is ArtifactState.HIDDEN:
                place.move(state, ArtifactState.COMPLETE)
            elif state is ArtifactState.REMOVING:
                place.clear()
            return state in (ArtifactState.HIDDEN, ArtifactState.COMPLETE)

    def remove(self, url: str, key: TaskKey) -> int:
        """Remove a hidden artifact; return the bytes of its files."""
        with _told(url), self._locked(key):
            place = _place_of(url)
            state = _state(place)
            if state is ArtifactState.COMPLETE:
                raise FileExistsError("it is not hidden any more")
            if state is ArtifactState.HIDDEN:
                place.move(state, ArtifactState.REMOVING)
            return place.clear() if state is not None else 0

    def rest(self, url: str, key: TaskKey, *, tried: bool) -> int | None:
        """Return the bytes that failed attempts at a key have left.

        With ``tried`` they are those of a try's artifact. None without any: there is no folder, or
        another artifact.
        """
        with _told(url):
            place = _place_of(url)
            state = _state(place)
            return place.size() if _is_rest(state, tried=tried) else None

    def remove_rest(self, url: str, key: TaskKey, *, tried: bool) -> int:
        """Remove what :meth:`rest` measures; return its bytes."""
        with _told(url), self._locked(key):
            place = _place_of(url)
            state = _state(place)
            if not _is_rest(state, tried=tried):
                raise FileExistsError("there is an artifact")
            if state in (ArtifactState.COMPLETE, ArtifactState.HIDDEN):
                place.move(state, ArtifactState.REMOVING)
            return place.clear()

    @contextmanager
    def _locked(self, key: TaskKey) -> Iterator[None]:
        """Hold the lock of a key against attempts. Raises OSError."""
        if self.layout is None:
            yield
            return
        path = self.layout.key_lock(key)
        lock = FileLock.take(path)
        if lock is None:
            raise BlockingIOError("an attempt at its key is under way")
        try:
            if has_processes(path):
                raise BlockingIOError("processes of an attempt at its key are left")
            yield
        finally:
            lock.release()


@contextmanager
def _told(url: str) -> Iterator[None]:
    try:
        yield
    except (OSError, stores.StoreError, CodecError, ValueError, RecursionError) as error:
        refused = isinstance(error, stores.StoreError)
        raise ArtifactPlaceError(f"{url}: {error}", refused=refused) from error


def _place_of(url: str) -> _Place:
    path = path_of(url)
    return _Folder(path) if path is not None else _Prefix(url.rstrip("/"))


def _state(place: _Place) -> ArtifactState | None:
    found = place.marker()
    return found[0] if found is not None else None


def _is_rest(state: ArtifactState | None, *, tried: bool) -> bool:
    """Return whether no artifact of the records is in a state.

    What is half removed has the marker of a removal.
    """
    return state is not None if tried else state in (None, ArtifactState.REMOVING)


def _facts(state: ArtifactState, content: bytes, key: TaskKey) -> ArtifactFacts:
    """Read a marker with its lineage. Raises ValueError and CodecError."""
    document: JSON = json.loads(content)
    marker = load_marker(document, key)
    inputs = {name: _key(document, name) for name in _INPUTS}
    return ArtifactFacts(
        state=state,
        size=sum(file.size for file in marker.files),
        inputs=tuple(found for found in inputs.values() if found is not None),
        evaluated=inputs["artifact"],
    )


def _key(document: JSON, name: str) -> TaskKey | None:
    """Return the key of an input in a marker's lineage. Raises ValueError."""
    found = document.get(name) if isinstance(document, dict) else None
    if found is None:
        return None
    key = found.get("key") if isinstance(found, dict) else None
    if not isinstance(key, str):
        raise ValueError(f"its lineage has a {name} without a key")
    return TaskKey(key)


# -- a folder of this machine --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Folder:
    path: Path

    def marker(self) -> tuple[ArtifactState, bytes] | None:
        with self._opened() as handle:
            if handle is None:
                return None
            for state in ArtifactState:
                content = _content(handle, state.value)
                if content is not None:
                    return state, content
        return None

    def size(self) -> int | None:
        with self._opened() as handle:
            return _size(handle) if handle is not None else None

    def move(self, state: ArtifactState, to: ArtifactState) -> None:
        with self._opened() as handle:
            assert handle is not None  # its marker was read
            with _writable(handle):
                os.rename(state, to, src_dir_fd=handle, dst_dir_fd=handle)
                os.fsync(handle)

    def clear(self) -> int:
        with self._opened() as handle:
            if handle is None:
                return 0
            with _writable(handle):
                freed = _clear(handle)
        with self._opened(parent=True) as handle:
            if handle is not None:
                with _writable(handle), suppress(FileNotFoundError):
                    os.rmdir(self.path.name, dir_fd=handle)
                    os.fsync(handle)
        return freed

    @contextmanager
    def _opened(self, *, parent: bool = False) -> Iterator[int | None]:
        """Open the folder, link by link; None without one. Raises OSError.

        It counts as gone only if that of its namespace is there: a disk that is not mounted is not
        empty.
        """
        depth = _DEPTH + (self.path.parent.name == "evaluations")
        folders = self.path.parts[-depth:]
        if folders[0] != "clusters":
            raise ValueError(f"{self.path} is no artifact's folder")
        handles = [os.open(Path(*self.path.parts[:-depth]), os.O_RDONLY | os.O_DIRECTORY)]
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        try:
            for number, name in enumerate(folders[:-1] if parent else folders):
                try:
                    handles.append(os.open(name, flags, dir_fd=handles[-1]))
                except FileNotFoundError:
                    if number < _NAMESPACE:
                        raise
                    yield None
                    return
                except OSError as error:
                    if error.errno in (errno.ENOTDIR, errno.ELOOP):
                        raise ValueError(f"{name} is not a folder of its own") from error
                    raise
            yield handles[-1]
        finally:
            for handle in handles:
                os.close(handle)


#: Of ``clusters/<cluster>/namespaces/<namespace>``.
_NAMESPACE = 4


def _content(folder: int, name: str) -> bytes | None:
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if not stat.S_ISREG(mode):
            raise ValueError(f"{name} is not a regular file")
        # One that has become a FIFO meanwhile is opened at once.
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except FileNotFoundError:
        return None
    with os.fdopen(handle, "rb") as file:
        data = file.read(MARKER_LIMIT + 1)
    if len(data) > MARKER_LIMIT:
        raise ValueError(f"{name} is larger than {MARKER_LIMIT} bytes")
    return data


@contextmanager
def _writable(folder: int) -> Iterator[None]:
    """Have a folder's entries changed, which may be read-only."""
    mode = stat.S_IMODE(os.fstat(folder).st_mode)
    os.fchmod(folder, mode | stat.S_IRWXU)
    try:
        yield
    finally:
        os.fchmod(folder, mode)


def _clear(folder: int) -> int:
    """Remove a folder's files, its marker last; return their bytes."""
    for _, _, _, handle in os.fwalk(dir_fd=folder, follow_symlinks=False):
        os.fchmod(handle, stat.S_IMODE(os.fstat(handle).st_mode) | stat.S_IRWXU)
    freed = _size(folder)
    for name in sorted(os.listdir(folder)):
        if name == _REMOVING:
            continue
        if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            shutil.rmtree(name, dir_fd=folder)
        else:
            os.unlink(name, dir_fd=folder)
    os.fsync(folder)
    with suppress(FileNotFoundError):
        os.unlink(_REMOVING, dir_fd=folder)
    os.fsync(folder)
    return freed


def _size(folder: int) -> int:
    """Return the bytes of a folder's files."""
    return sum(
        os.stat(name, dir_fd=handle, follow_symlinks=False).st_size
        for _, _, files, handle in os.fwalk(dir_fd=folder, follow_symlinks=False)
        for name in files
    )


# -- a cloud bucket ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Prefix:
    url: str

    def marker(self) -> tuple[ArtifactState, bytes] | None:
        for state in ArtifactState:
            try:
                return state, stores.end(f"{self.url}/{state}", MARKER_LIMIT)
            except stores.Missing:
                continue
        return None

    def size(self) -> int | None:
        sizes = stores.sizes(self.url)
        return sum(sizes.values()) if sizes else None

    def move(self, state: ArtifactState, to: ArtifactState) -> None:
        stores.copy(f"{self.url}/{state}", f"{self.url}/{to}")
        stores.delete(self.url, [state])

    def clear(self) -> int:
        sizes = stores.sizes(self.url)
        if MARKER in sizes:
            raise FileExistsError("it is complete again")
        stores.delete(self.url, sorted(sizes.keys() - {_REMOVING}))
        if _REMOVING in sizes:
            stores.delete(self.url, [_REMOVING])
        return sum(sizes.values())
