"""Git remotes, and the calls to them: real repositories, moved as objects instead of by git.

A fetch takes a commit and what it needs, files first, so that one that breaks off leaves nothing
that seems whole. A push moves a ref only forward, and can arrive while its answer is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pygit2
from pygit2.enums import ObjectType

from reconciler.errors import GitError, Trouble
from reconciler.git.errors import DamagedError
from reconciler.git.transport import PushRejectedError, RemoteRefs
from reconciler.types import Commit
from tests.simulator.loop import EPOCH, PROCESS, Process
from tests.simulator.network import Link
from tests.simulator.site import HOST
from tests.simulator.threads import elsewhere, wait

_AUTHOR = ("somebody", "somebody@example.com")
Files = Mapping[str, bytes]
#: Called with the process, the remote's name, the ref, and the commits before and after a push.
Pushed = Callable[[Process | None, str, str, str | None, str], None]


def _no_link(process: Process) -> Link:
    raise AssertionError(f"{process.name} has no way to the remotes")


@dataclass
class Remotes:
    """Bare repositories below one folder, as ``HOST`` serves them.

    ``link`` is the way of a process to them; ``asked`` is called at each call.
    """

    folder: Path
    seconds: Callable[[], float]
    link: Callable[[Process], Link] = _no_link
    pushed: Pushed = lambda *_: None
    asked: Callable[[Process, str], None] = lambda *_: None
    _open: dict[str, pygit2.Repository] = field(default_factory=dict)
    #: What was read and written lately, by its id or as it is: objects never change.
    _trees: dict[str, dict[str, bytes]] = field(default_factory=dict)
    _blobs: dict[pygit2.Oid, bytes] = field(default_factory=dict)
    raw: dict[pygit2.Oid, bytes] = field(default_factory=dict)
    _written: dict[tuple[str, bytes], pygit2.Oid] = field(default_factory=dict)

    def make(self, name: str) -> None:
        pygit2.init_repository(str(self.folder / name), bare=True)

    def at(self, name: str) -> pygit2.Repository:
        if name not in self._open:
            self._open[name] = pygit2.Repository(str(self.folder / name))
        return self._open[name]

    def tip(self, name: str, ref: str) -> str | None:
        found = self.at(name).references.get(ref)
        return str(found.target) if found is not None else None

    def commit(self, name: str, ref: str, files: Files, message: str, *, new: bool = False) -> str:
        """Commit exactly these files, as somebody with a clone."""
        repository = self.at(name)
        tip = None if new else self.tip(name, ref)
        author = pygit2.Signature(*_AUTHOR, int(EPOCH.timestamp() + self.seconds()), 0)
        tree = self._write_tree(name, files)
        parents = [pygit2.Oid(hex=tip)] if tip else []
        oid = repository.create_commit(None, author, author, message, tree, parents)
        repository.references.create(ref, oid, force=True)
        return str(oid)

    def files(self, name: str, commit: str) -> dict[str, bytes]:
        repository = self.at(name)
        found = repository[commit]
        assert isinstance(found, pygit2.Commit)
        return dict(self._files(found.tree))

    def point(self, name: str, ref: str, commit: str) -> None:
        """Let a ref be some commit."""
        self.at(name).references.create(ref, pygit2.Oid(hex=commit), force=True)

    def delete(self, name: str, ref: str) -> None:
        with suppress(KeyError):
            self.at(name).references.delete(ref)

    def _write_tree(self, name: str, files: Files) -> pygit2.Oid:
        """Write a tree of files by their paths."""
        repository = self.at(name)
        builder = repository.TreeBuilder()
        folders: dict[str, dict[str, bytes]] = {}
        for path, data in files.items():
            entry, slash, rest = path.partition("/")
            if slash:
                folders.setdefault(entry, {})[rest] = data
                continue
            oid = self._written.get((name, data))
            if oid is None:
                oid = self._written[name, data] = repository.create_blob(data)
            builder.insert(entry, oid, pygit2.enums.FileMode.BLOB)
        for folder, inside in folders.items():
            builder.insert(folder, self._write_tree(name, inside), pygit2.enums.FileMode.TREE)
        return builder.write()

    def _files(self, tree: pygit2.Tree) -> dict[str, bytes]:
        known = self._trees.get(str(tree.id))
        if known is not None:
            return known
        found: dict[str, bytes] = {}
        for entry in tree:
            if isinstance(entry, pygit2.Tree):
                inside = self._files(entry).items()
                found |= {f"{entry.name}/{path}": data for path, data in inside}
            elif isinstance(entry, pygit2.Blob):
                data = self._blobs.get(entry.id)
                if data is None:
                    data = self._blobs[entry.id] = entry.data
                found[str(entry.name)] = data
        self._trees[str(tree.id)] = found
        return found


class SimulatedTransport:
    """Stands for ``Transport``: the same calls, to remotes of this world.

    ``listed`` is called with each look at the refs that has arrived.
    """

    def __init__(
        self, remotes: Remotes, listed: Callable[[Process], None] = lambda _: None
    ) -> None:
        self._remotes = remotes
        self._listed = listed
        process = PROCESS.get()
        assert process is not None
        self._process = process
        self._link = remotes.link(process)

    def list_refs(self, url: str, patterns: Sequence[str] = ()) -> RemoteRefs:
        name = self._call(url, "list")
        found = {}
        self._listed(self._process)
        for ref in self._remotes.at(name).references:
            if not patterns or any(fnmatchcase(f"/{ref}", f"*/{p}") for p in patterns):
                found[ref] = Commit(self._remotes.tip(name, ref) or "")
        self._answered(url)
        return RemoteRefs(found, "refs/heads/main")

    def fetch(
        self,
        path: Path,
        url: str,
        refspecs: Sequence[str],
        *,
        depth: int | None = None,
        largest: int | None = None,
        patience: float = 1.0,
    ) -> None:
        del largest, patience
        remote = self._remotes.at(self._call(url, "fetch"))
        local = _opened(path)
        try:
            for refspec in refspecs:
                source, _, target = refspec.lstrip("+").partition(":")
                for ref, oid in _matching(remote, source, target):
                    copied = _Copied(remote, local, depth or None, self._remotes.raw)
                    copied.commits(oid)
                    self._answered(url)
                    copied.end(path)
                    local.references.create(ref, oid, force=True)
        except (pygit2.GitError, OSError) as error:
            raise GitError(f"{path.name} cannot be written: {error}") from error
        finally:
            local.free()

    def push(self, path: Path, url: str, commit: Commit, ref: str) -> None:
        name = self._call(url, "push")
        remote, local = self._remotes.at(name), _opened(path)
        tip = self._remotes.tip(name, ref)
        try:
            if not _goes_on(local, path, commit, tip):
                raise PushRejectedError(f"! {ref} (fetch first)")
            with elsewhere():
                _Copied(local, remote, None, {}).commits(pygit2.Oid(hex=commit))
        except KeyError as error:
            raise DamagedError(f"{path.name} is damaged: bad object {error}") from error
        finally:
            local.free()
        with elsewhere():
            remote.references.create(ref, commit, force=True)
        self._remotes.pushed(self._process, name, ref, tip, commit)
        self._answered(url)

    def _call(self, url: str, what: str) -> str:
        """Go to the remote; returns its name."""
        self._remotes.asked(self._process, what)
        wait(self._link.delay())
        if self._link.cut or self._link.chance.random() < self._link.failing:
            self._fail(url)
        return url.removeprefix(HOST)

    def _answered(self, url: str) -> None:
        """Go back; the answer may be lost."""
        lost = self._link.chance.random() < self._link.losing
        wait(self._link.delay())
        if lost or self._link.cut:
            self._fail(url)

    def _fail(self, url: str) -> None:
        wait(self._link.chance.choice((0.1, 60.0)))
        raise GitError(f"{url} cannot be reached", Trouble.UNREACHABLE)


def _opened(path: Path) -> pygit2.Repository:
    """Open a copy, as the git command does. Raises DamagedError."""
    try:
        return pygit2.Repository(str(path))
    except pygit2.GitError as error:
        raise DamagedError(f"{path.name} is not a git repository") from error


def _matching(
    remote: pygit2.Repository, source: str, target: str
) -> Iterator[tuple[str, pygit2.Oid]]:
    if not source.startswith("refs/"):
        if source not in remote:
            raise GitError(f"the remote has no {source}")
        yield target, pygit2.Oid(hex=source)
        return
    before = source.partition("*")[0]
    for ref in remote.references:
        if ref == source or ("*" in source and ref.startswith(before)):
            oid = remote.references[ref].target
            assert isinstance(oid, pygit2.Oid)
            yield target.replace("*", ref.removeprefix(before)), oid
            if ref == source:
                return
    if "*" not in source:
        raise GitError(f"the remote has no {source}", Trouble.MISSING)


def _shallow(path: Path) -> set[str]:
    file = path / "shallow"
    return set(file.read_text().split()) if file.exists() else set()


def _goes_on(local: pygit2.Repository, path: Path, commit: str, tip: str | None) -> bool:
    """Return whether a commit descends from the tip, as far as the copy knows."""
    ends, at = _shallow(path), commit
    while at != tip:
        if at in ends:
            return False  # of a shallow copy nothing can be pushed but what goes on from a ref
        found = local[at]
        assert isinstance(found, pygit2.Commit)
        if not found.parent_ids:
            return tip is None
        at = str(found.parent_ids[0])
    return True


class _Copied:
    """Objects that are copied from one repository into another."""

    def __init__(
        self,
        source: pygit2.Repository,
        target: pygit2.Repository,
        depth: int | None,
        known: dict[pygit2.Oid, bytes],
    ) -> None:
        self._known = known
        self._source = source
        self._target = target
        self._depth = depth
        self._ends: set[str] = set()

    def commits(self, oid: pygit2.Oid) -> None:
        chain: list[pygit2.Commit] = []
        at: pygit2.Oid | None = oid
        while at is not None and at not in self._target:
            found: Any = self._source[at]
            chain.append(found)
            at = found.parent_ids[0] if found.parent_ids else None
            if self._depth is not None and len(chain) >= self._depth:
                if at is not None and at not in self._target:
                    self._ends.add(str(found.id))
                break
        for commit in reversed(chain):
            self._tree(commit.tree)
            self._copy(commit.id, ObjectType.COMMIT)

    def end(self, path: Path) -> None:
        """Note where the copy's history ends."""
        if self._ends:
            ends = sorted(_shallow(path) | self._ends)
            (path / "shallow").write_text("".join(f"{end}\n" for end in ends))

    def _tree(self, tree: pygit2.Tree) -> None:
        if tree.id in self._target:
            return
        for entry in tree:
            if isinstance(entry, pygit2.Tree):
                self._tree(entry)
            elif entry.id not in self._target:
                self._copy(entry.id, ObjectType.BLOB)
        self._copy(tree.id, ObjectType.TREE)

    def _copy(self, oid: pygit2.Oid, kind: ObjectType) -> None:
        data = self._known.get(oid)
        if data is None:
            data = self._known[oid] = self._source.read(oid)[1]
        self._target.write(kind, data)
