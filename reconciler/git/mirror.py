"""Repositories that are read: a bare mirror of the manifest repository, or a clone on this disk.

There is no work tree. A commit is read by tree diff against the one read before, so the cost
is that of what changed.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pygit2
from pygit2.enums import FileMode, SortMode

from reconciler.git.credentials import CredentialTable
from reconciler.git.errors import GitError, redact
from reconciler.git.export import export_tree
from reconciler.git.transport import DEFAULT_TIMEOUT, Transport
from reconciler.types import Commit, TreeId

IGNORE_FILE = ".reconcilerignore"
_SUFFIXES = (".yaml", ".yml", ".json")
_REGULAR = (FileMode.BLOB, FileMode.BLOB_EXECUTABLE)


class Repository:
    """Reads commits, trees and blobs. Safe to use from one thread at a time."""

    def __init__(self, repository: pygit2.Repository) -> None:
        self._repository = repository

    @property
    def path(self) -> Path:
        """The folder that the objects are in."""
        return Path(self._repository.path)

    def has(self, commit: Commit) -> bool:
        """Whether the commit is there."""
        try:
            return isinstance(self._repository.get(commit), pygit2.Commit)
        except ValueError:
            return False

    def list_manifests(
        self,
        commit: Commit,
        path: str = "",
        previous: tuple[Commit, Mapping[str, str]] | None = None,
    ) -> dict[str, str]:
        """Path → blob id of every regular file under ``path`` that may hold manifests.

        ``previous`` is a commit and what this returned for it: then only the difference is
        read. Symbolic links and submodules are not followed.
        """
        tree = self._folder(commit, path)
        if previous is not None and self.has(previous[0]):
            before = self._folder(previous[0], path)
            if before is not None and tree is not None:
                return self._changed(before, tree, path, previous[1])
        found: dict[str, str] = {}
        if tree is not None:
            _walk(tree, f"{path}/" if path else "", found)
        return found

    def _changed(
        self, before: pygit2.Tree, after: pygit2.Tree, path: str, files: Mapping[str, str]
    ) -> dict[str, str]:
        prefix = f"{path}/" if path else ""
        if before.id == after.id:
            return dict(files)
        found = dict(files)
        for delta in before.diff_to_tree(after).deltas:
            found.pop(prefix + delta.old_file.path, None)
        for delta in before.diff_to_tree(after).deltas:
            new = delta.new_file
            if new.mode in _REGULAR and _is_manifest(new.path) and delta.status_char() != "D":
                found[prefix + new.path] = str(new.id)
        return found

    def read_blob(self, blob: str, limit: int) -> bytes:
        """At most the first ``limit`` bytes of a blob."""
        found = self._repository.get(blob)
        if not isinstance(found, pygit2.Blob):
            raise GitError(f"the repository has no blob {blob}")
        return found.data[:limit] if found.size > limit else found.data

    def read_file(self, commit: Commit, path: str, limit: int = 1 << 20) -> bytes | None:
        """At most the first ``limit`` bytes of a regular file of a commit, if it is there."""
        try:
            entry = self._commit(commit).tree[path]
        except KeyError:
            return None
        if not isinstance(entry, pygit2.Blob) or entry.filemode not in _REGULAR:
            return None
        return entry.data[:limit]

    def read_all(self, commit: Commit) -> Iterator[tuple[str, bytes]]:
        """Every regular file of a commit."""
        files: dict[str, str] = {}
        _walk(self._commit(commit).tree, "", files, every=True)
        for path, blob in files.items():
            yield path, self.read_blob(blob, 1 << 30)

    def tree_id(self, commit: Commit, path: str) -> TreeId | None:
        """The tree id of a folder in a commit; None where there is no such folder."""
        tree = self._folder(commit, path)
        return TreeId(str(tree.id)) if tree is not None else None

    def export_tree(self, tree: TreeId, destination: Path) -> None:
        """Write a tree's files into a folder. Raises GitError."""
        export_tree(self._repository, tree, destination)

    def last_changed(
        self, commit: Commit, paths: Collection[str], *, limit: int = 2000
    ) -> dict[str, Commit]:
        """The commit that last changed each path, looking back over at most ``limit`` commits.

        What has not changed in all of those gets the oldest one looked at.
        """
        found: dict[str, Commit] = {}
        missing = set(paths)
        oldest = commit
        walker = self._repository.walk(commit, SortMode.TOPOLOGICAL | SortMode.TIME)
        for number, each in enumerate(walker):
            if not missing or number >= limit:
                break
            oldest = Commit(str(each.id))
            parents = [parent.tree for parent in each.parents]
            changed = (
                {path for path in missing if _blob_id(each.tree, path)}
                if not parents
                else _changed_in_all(each.tree, parents, missing)
            )
            found |= dict.fromkeys(changed, oldest)
            missing -= changed
        return found | dict.fromkeys(missing, oldest)

    def _commit(self, commit: Commit) -> pygit2.Commit:
        found = self._repository.get(commit)
        if not isinstance(found, pygit2.Commit):
            raise GitError(f"the repository has no commit {commit}")
        return found

    def _folder(self, commit: Commit, path: str) -> pygit2.Tree | None:
        tree = self._commit(commit).tree
        if not path:
            return tree
        try:
            entry = tree[path]
        except KeyError:
            return None
        return entry if isinstance(entry, pygit2.Tree) else None


def _changed_in_all(
    tree: pygit2.Tree, parents: list[pygit2.Tree], paths: Collection[str]
) -> set[str]:
    """The paths that differ from every parent: a merge changes what neither side had so."""
    changed = set(paths)
    for parent in parents:
        if parent.id == tree.id:
            return set()
        deltas = parent.diff_to_tree(tree).deltas
        changed &= {delta.new_file.path for delta in deltas}
    return changed


def _blob_id(tree: pygit2.Tree, path: str) -> str | None:
    try:
        return str(tree[path].id)
    except KeyError:
        return None


def _is_manifest(path: str) -> bool:
    return path.endswith(_SUFFIXES) or path.rpartition("/")[2] == IGNORE_FILE


def _walk(tree: pygit2.Tree, prefix: str, found: dict[str, str], *, every: bool = False) -> None:
    for entry in tree:
        name = entry.name or ""
        if isinstance(entry, pygit2.Tree):
            _walk(entry, f"{prefix}{name}/", found, every=every)
        elif entry.filemode in _REGULAR and (every or _is_manifest(name)):
            found[prefix + name] = str(entry.id)


class LocalRepository(Repository):
    """A clone on this disk, as ``plan`` and ``status`` read it. Nothing in it is changed."""

    @classmethod
    def open(cls, folder: Path) -> LocalRepository:
        """Open the repository that a folder is in. Raises GitError."""
        found = pygit2.discover_repository(str(folder)) if folder.is_dir() else None
        if found is None:
            raise GitError(f"{folder} is not in a Git repository")
        try:
            return cls(pygit2.Repository(found))
        except pygit2.GitError as error:
            raise GitError(f"{folder} cannot be read as a Git repository: {error}") from error

    @property
    def work_tree(self) -> Path | None:
        """The folder that is checked out; None of a bare repository."""
        folder = self._repository.workdir
        return Path(folder) if folder else None

    def resolve(self, rev: str) -> Commit:
        """The commit that a revision names. Raises GitError."""
        try:
            found = self._repository.revparse_single(rev)
            return Commit(str(found.peel(pygit2.Commit).id))
        except (KeyError, ValueError, pygit2.GitError) as error:
            raise GitError(
                f"there is no commit {rev} in {self.path}; is the clone deep enough?"
            ) from error

    def status_branch(self, branch: str) -> Commit | None:
        """The branch's tip: as last fetched, else the local one, else None."""
        remotes = sorted((r.name or "" for r in self._repository.remotes), key=_origin_first)
        names = [f"refs/remotes/{remote}/{branch}" for remote in remotes]
        for name in (*names, f"refs/heads/{branch}"):
            if name in self._repository.references:
                commit = self._repository.references[name].peel(pygit2.Commit)
                return Commit(str(commit.id))
        return None

    def remote_url(self) -> str | None:
        """The URL of ``origin``, or of the first remote there is."""
        remotes = sorted(self._repository.remotes, key=lambda r: _origin_first(r.name or ""))
        return remotes[0].url if remotes else None


def _origin_first(name: str) -> tuple[bool, str]:
    return name != "origin", name


class Mirror(Repository):
    """A bare mirror of one branch of the manifest repository."""

    def __init__(
        self, repository: pygit2.Repository, *, url: str, branch: str, transport: Transport
    ) -> None:
        super().__init__(repository)
        self._url = url
        self._branch = branch
        self._transport = transport

    @classmethod
    def open(
        cls,
        path: Path,
        url: str,
        *,
        branch: str,
        credentials: CredentialTable,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Mirror:
        """Open the mirror at a path; make it, or make it anew if it is damaged."""
        transport = Transport(credentials, path.parent / "home", timeout)
        return cls(open_bare(path), url=url, branch=branch, transport=transport)

    def fetch(self) -> Commit:
        """Fetch the branch and return its head; costs one look-up if nothing is new.

        Raises GitError.
        """
        ref = f"refs/heads/{self._branch}"
        refs = self._transport.list_refs(self._repository, self._url)
        head = refs.commits.get(ref)
        if head is None:
            raise GitError(self._no_branch(refs.commits))
        if not self.has(head):
            self._transport.fetch(self._repository, self._url, [f"+{ref}:{ref}"])
        if not self.has(head):  # it moved in between
            head = Commit(str(self._repository.references[ref].peel(pygit2.Commit).id))
        return head

    def _no_branch(self, commits: Mapping[str, Commit]) -> str:
        prefix = "refs/heads/"
        names = sorted(name.removeprefix(prefix) for name in commits if name.startswith(prefix))
        have = f"it has {', '.join(names[:5])}" if names else "it is empty"
        return f"{redact(self._url)} has no branch {self._branch}; {have}"


def open_bare(path: Path) -> pygit2.Repository:
    """Open a bare repository of ours; what cannot be opened is made anew, it is only a copy."""
    if path.exists():
        try:
            repository = pygit2.Repository(str(path))
        except pygit2.GitError:
            shutil.rmtree(path)
        else:
            return repository
    path.parent.mkdir(parents=True, exist_ok=True)
    return pygit2.init_repository(str(path), bare=True)
