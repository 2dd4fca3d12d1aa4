"""Commits put straight into a bare repository: no clone, no index, no process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pygit2
from pygit2.enums import FileMode, ObjectType

from reconciler.types import Commit

AUTHOR = pygit2.Signature("Test", "test@localhost", 1_700_000_000, 0)


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True)
class Script:
    """A file that can be executed."""

    text: str


@dataclass(frozen=True)
class Gitlink:
    """A submodule."""

    commit: str


Content = str | bytes | Link | Script | Gitlink


@dataclass
class History:
    """A bare repository at ``path``."""

    path: Path
    repository: pygit2.Repository = field(init=False)

    def __post_init__(self) -> None:
        self.repository = pygit2.Repository(str(self.path))

    @property
    def url(self) -> str:
        return self.path.as_uri()

    def commit(
        self,
        files: Mapping[str, Content],
        *,
        branch: str = "main",
        orphan: bool = False,
        message: str = "A commit",
    ) -> Commit:
        """A commit that has exactly these files, on top of a branch."""
        ref = f"refs/heads/{branch}"
        known = self.repository.references.get(ref)
        parents = [] if orphan or known is None else [known.target]
        oid = self.repository.create_commit(
            None,
            AUTHOR,
            AUTHOR,
            message,
            self.tree(files),
            parents,
        )
        self.repository.references.create(ref, oid, force=True)
        return Commit(str(oid))

    def tree(self, files: Mapping[str, Content]) -> pygit2.Oid:
        folders: dict[str, dict[str, Content]] = {}
        builder = self.repository.TreeBuilder()
        for path, content in files.items():
            name, slash, rest = path.partition("/")
            if slash:
                folders.setdefault(name, {})[rest] = content
            else:
                builder.insert(name, *self._entry(content))
        for name, inner in folders.items():
            builder.insert(name, self.tree(inner), FileMode.TREE)
        return builder.write()

    def _entry(self, content: Content) -> tuple[pygit2.Oid, FileMode]:
        blob = self.repository.create_blob
        match content:
            case Gitlink(commit):
                return pygit2.Oid(hex=commit), FileMode.COMMIT
            case Link(target):
                return blob(target.encode()), FileMode.LINK
            case Script(text):
                return blob(text.encode()), FileMode.BLOB_EXECUTABLE
            case str():
                return blob(content.encode()), FileMode.BLOB
            case bytes():
                return blob(content), FileMode.BLOB

    def tag(self, name: str, commit: str, *, annotated: bool = False) -> None:
        target = pygit2.Oid(hex=commit)
        if annotated:
            self.repository.create_tag(name, target, ObjectType.COMMIT, AUTHOR, "A tag")
        else:
            self.repository.references.create(f"refs/tags/{name}", target)

    def write_raw_tree(self, entries: list[tuple[int, bytes, str]]) -> pygit2.Oid:
        """A tree with any entries, in any order: mode, name and id of each."""
        data = b"".join(
            b"%o %s\0%s" % (mode, name, bytes.fromhex(oid)) for mode, name, oid in entries
        )
        return self.repository.write(ObjectType.TREE, data)

    def blob(self, content: str) -> str:
        return str(self.repository.create_blob(content.encode()))
