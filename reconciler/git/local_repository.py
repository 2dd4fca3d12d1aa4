"""A clone that a user or a CI system has made.

CI systems clone with ``--filter``. Git fetches the objects that such a partial clone has left out
by itself; libgit2 takes them for lost. So they are fetched here.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TypeVar

import pygit2

from reconciler.errors import GitError
from reconciler.git.command import user_environment
from reconciler.git.errors import DamagedError, NoRepositoryError
from reconciler.git.repository import Repository
from reconciler.types import Commit
from reconciler.urls import is_local, local_path, redact, split_ssh

T = TypeVar("T")


class LocalRepository(Repository):
    """A clone on this disk, which ``plan`` and ``status`` read."""

    @classmethod
    def open(cls, folder: Path) -> LocalRepository:
        """Open the repository that a folder is in.

        Raises NoRepositoryError, and GitError for one that cannot be read.
        """
        found = pygit2.discover_repository(str(folder)) if folder.is_dir() else None
        if found is None:
            raise NoRepositoryError(f"{folder} is not in a Git repository")
        try:
            return cls(pygit2.Repository(found))
        except pygit2.GitError as error:
            remedy = ""
            if os.geteuid() not in {place.stat().st_uid for place in (Path(found), folder)}:
                trusted = f"git config --global --add safe.directory {folder.resolve()}"
                remedy = f"; it belongs to another user: if you trust it, {trusted}"
            raise GitError(
                f"{folder} cannot be read as a Git repository: {error}{remedy}"
            ) from error

    @property
    def work_tree(self) -> Path | None:
        """Return the folder that is checked out; None of a bare repository."""
        folder = self._repository.workdir
        return Path(folder) if folder else None

    def ignores(self, file: Path) -> bool:
        """Return whether Git ignores a file or folder of the work tree."""
        root = self._root
        if root is None or not file.is_relative_to(root) or file == root:
            return False
        path = file.relative_to(root).as_posix()
        # A file that was added all the same is in the index, and stays there.
        # libgit2 is given text: of a name that is not UTF-8, patterns are held against the rest.
        text = os.fsencode(path).decode("utf-8", "replace")
        return self._repository.path_is_ignored(text) and path not in self._added

    @cached_property
    def _root(self) -> Path | None:
        """Return the work tree's path, without symbolic links."""
        root = self.work_tree
        return root.resolve() if root is not None else None

    @cached_property
    def _added(self) -> frozenset[str]:
        """Return the files of the index, and their folders."""
        files = [PurePosixPath(entry.path) for entry in self._repository.index]
        return frozenset(str(path) for file in files for path in (file, *file.parents))

    def resolve(self, rev: str) -> Commit:
        """Return the commit that a revision names. Raises GitError."""
        try:
            found = self._repository.revparse_single(rev)
            return Commit(str(found.peel(pygit2.Commit).id))
        except (KeyError, ValueError, pygit2.GitError) as error:
            unborn = self._repository.head_is_unborn and rev.startswith(("HEAD", "@"))
            why = (
                "nothing is committed on the branch that is checked out"
                if unborn
                else "is the clone deep enough?"
            )
            raise GitError(f"there is no commit {rev} in {self.path}; {why}") from error

    def add_objects(self, folder: Path) -> None:
        """Read the objects in a folder as well."""
        self._objects.add_disk_alternate(str(folder))

    def status_branch(self, branch: str) -> Commit | None:
        """Return the branch's tip: the fetched, else the local, else None."""
        remotes = sorted((r.name or "" for r in self._repository.remotes), key=_origin_first)
        names = [f"refs/remotes/{remote}/{branch}" for remote in remotes]
        for name in (*names, f"refs/heads/{branch}"):
            if name in self._repository.references:
                commit = self._repository.references[name].peel(pygit2.Commit)
                return Commit(str(commit.id))
        return None

    def list_manifests(
        self,
        commit: Commit,
        path: str = "",
        previous: tuple[Commit, Mapping[str, str]] | None = None,
    ) -> dict[str, str]:
        """List the files that may hold manifests.

        What a partial clone has left out of them is fetched, all at once.
        """
        found = super().list_manifests(commit, path, previous)
        if self._promisor is not None:
            missing = {blob for blob in found.values() if pygit2.Oid(hex=blob) not in self._objects}
            if missing:
                fetch_promised(self.path, self._promisor, sorted(missing))
        return found

    def _reading(self, read: Callable[[], T]) -> T:
        """Run a read; fetch what a partial clone has left out."""
        fetched: set[str] = set()
        while True:
            try:
                return super()._reading(read)
            except DamagedError as error:
                missing = missing_object(error)
                if self._promisor is None or missing is None or missing in fetched:
                    raise
                fetched.add(missing)
                fetch_promised(self.path, self._promisor, [missing])

    @cached_property
    def _promisor(self) -> str | None:
        return promisor(self._repository)

    @property
    def _objects(self) -> pygit2.Odb:
        return self._repository.odb

    def remote_url(self) -> str | None:
        """Return the URL of ``origin``, or of the first remote there is."""
        remotes = sorted(self._repository.remotes, key=lambda r: _origin_first(r.name or ""))
        return remotes[0].url if remotes else None

    def local_remotes(self) -> list[Path]:
        """Return the paths of the remotes that are on this machine."""
        place = self.work_tree or self.path
        urls = [remote.url or "" for remote in self._repository.remotes]
        paths = (url for url in urls if "://" not in url and split_ssh(url) is None)
        return [*map(local_path, filter(is_local, urls)), *(place / path for path in paths)]


def _origin_first(name: str) -> tuple[bool, str]:
    return name != "origin", name


#: Seconds for a fetch.
_TIMEOUT = 600.0
_ID = re.compile(r"\b(?:[0-9a-f]{40}|[0-9a-f]{64})\b")
_PROMISOR = re.compile(r"remote\.(?P<remote>.+)\.promisor")


def promisor(repository: pygit2.Repository) -> str | None:
    """Return the remote that completes a partial clone; else None."""
    for entry in repository.config:
        found = _PROMISOR.fullmatch(entry.name)
        if found is not None and entry.value == "true":
            return found["remote"]
    return None


def missing_object(error: DamagedError) -> str | None:
    """Return the id of the object that a read has missed."""
    found = _ID.search(str(error.__cause__))
    return found[0] if found is not None else None


def fetch_promised(path: Path, remote: str, objects: Iterable[str]) -> None:
    """Fetch objects by their ids, with this user's Git configuration. Raises GitError."""
    options = ["--no-tags", "--no-write-fetch-head", "--recurse-submodules=no", "--quiet"]
    command = ["git", f"--git-dir={path}", "-c", "fetch.negotiationAlgorithm=noop", "fetch"]
    try:
        done = subprocess.run(
            [*command, remote, *options, "--filter=blob:none", "--stdin"],
            env=user_environment(),
            input="".join(f"{each}\n" for each in objects),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GitError(f"{_cannot(path, remote)}: {error}") from error
    if done.returncode != 0:
        said = redact(done.stderr.strip())[-300:]
        raise GitError(f"{_cannot(path, remote)}: {said}")


def _cannot(path: Path, remote: str) -> str:
    return (
        f"{path} is a partial clone, and what it has left out cannot be fetched from {remote}; "
        "clone without --filter, or where that remote can be read"
    )
