"""The bare repositories that sources are fetched into, one per URL.

A look-up of refs gives a commit but not the tree of a folder in it, so the commit is fetched,
and nothing of its history.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pygit2

from reconciler.errors import GitError
from reconciler.git.bare import BareCopy
from reconciler.git.command import LateError
from reconciler.git.errors import DamagedError
from reconciler.git.recovery import READ_ERRORS, rebuilding
from reconciler.git.repository import Repository
from reconciler.git.transport import Transport
from reconciler.types import Commit
from reconciler.urls import redact

T = TypeVar("T")

#: Seconds after which the copy of a URL that no manifest names is removed, once another copy is
#: made. Should a manifest name it again, its commit is fetched again.
UNUSED = 30 * 86400.0


class Store:
    """Commits of any number of URLs.

    Safe to use from several threads, one at a time per URL. ``largest`` bounds the bytes of one
    fetch.
    """

    def __init__(self, root: Path, transport: Transport, largest: int) -> None:
        self._root = root
        self._transport = transport
        self._largest = largest

    def reading(
        self,
        url: str,
        commit: Commit,
        name: str | None,
        read: Callable[[pygit2.Repository], T],
    ) -> T:
        """Fetch a commit where it is missing, and read from its repository.

        ``name`` is a ref that points to the commit, where one is known. A repository of ours that
        is found damaged is made anew. Raises GitError.
        """
        path = self._path(url)
        is_new = not path.exists()
        copy = BareCopy(path)
        if is_new:
            self._drop_unused()
        try:
            return self._reading(copy, url, commit, name, read)
        finally:
            copy.close()

    def still_named(self, url: str) -> None:
        """Keep the copy of a URL, which a manifest names."""
        with suppress(OSError):
            os.utime(self._path(url))

    def _path(self, url: str) -> Path:
        return self._root / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.git"

    def _drop_unused(self) -> None:
        """Remove copies of URLs that no manifest has named for long.

        A thread that begins to read one at that moment finds it damaged, and makes it anew.
        """
        now = time.time()
        for path in self._root.glob("*.git"):
            with suppress(FileNotFoundError):
                used = path.stat().st_mtime
                if used > now:
                    os.utime(path)  # the clock was set back since
                elif used < now - UNUSED:
                    shutil.rmtree(path, ignore_errors=True)

    def _reading(
        self,
        copy: BareCopy,
        url: str,
        commit: Commit,
        name: str | None,
        read: Callable[[pygit2.Repository], T],
    ) -> T:
        def fetch_and_read() -> T:
            self._need(copy, url, commit, name)
            try:
                return read(copy.repository)
            except (KeyError, pygit2.GitError) as error:
                raise DamagedError(f"{redact(url)} is damaged: {error}") from error

        return rebuilding(fetch_and_read, copy.remake, damage=READ_ERRORS)

    def _need(self, copy: BareCopy, url: str, commit: Commit, name: str | None) -> None:
        """Fetch a commit where it is missing.

        By the ref that points to it, else by its id, else with all branches and tags.
        """
        kept = f"+{{}}:refs/reconciler/{commit}"
        ways: list[tuple[list[str], int]] = [([kept.format(commit)], 1)]
        if name is not None:
            ways.insert(0, ([kept.format(name)], 1))
        # A server of the older protocol gives only what refs point to, and what is behind them.
        everything = ["+refs/heads/*:refs/all/heads/*", "+refs/tags/*:refs/all/tags/*"]
        ways.append((everything, 0))
        for refspecs, depth in ways:
            if Repository(copy.repository).has(commit):
                return
            copy.sweep()
            try:
                self._transport.fetch(copy.path, url, refspecs, depth=depth, largest=self._largest)
            except (DamagedError, LateError):
                raise
            except GitError:
                copy.sweep()  # of a fetch that was too large, what it has written
                if depth == 0:
                    raise
            copy.tidy()
        if not Repository(copy.repository).has(commit):
            raise GitError(f"{redact(url)} has no commit {commit} on any branch or tag")
