"""A branch of generated files with several writers, none losing commits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import pygit2
from pygit2.enums import FileMode

from reconciler.backoff import Backoff
from reconciler.errors import GitError, Trouble
from reconciler.git.bare import BareCopy
from reconciler.git.command import environment, run_git
from reconciler.git.credentials import CredentialTable
from reconciler.git.errors import DamagedError, writing
from reconciler.git.recovery import READ_ERRORS, rebuilding
from reconciler.git.repository import LARGEST_UNPACKED, Repository
from reconciler.git.signatures import (
    MOST_COMMITS,
    CommitSigner,
    SignatureVerifier,
    write_commit,
)
from reconciler.git.transport import DEFAULT_TIMEOUT, LARGEST_FETCH, PushRejectedError, Transport
from reconciler.types import Commit

T = TypeVar("T")
#: How often a push is tried while others keep moving the branch.
PUSH_TRIES = 20
#: Pauses between two such tries.
RETRY = Backoff(first=0.05, longest=2.0)


class StatusBranch:
    """An orphan branch, and its last known tip in a bare copy.

    The history stays on the remote; the copy has what was written since its first fetch. To be used
    from one thread at a time, also to read: a push that packs or remakes the copy replaces its
    handle.
    """

    def __init__(
        self,
        path: Path,
        url: str,
        *,
        branch: str,
        credentials: CredentialTable,
        author_name: str,
        author_email: str,
        timeout: float = DEFAULT_TIMEOUT,
        pause: Callable[[float], None] = time.sleep,
        signer: CommitSigner | None = None,
        verifier: SignatureVerifier | None = None,
    ) -> None:
        self._copy = BareCopy(path)
        self._transport = Transport(credentials, path.parent / "home", timeout)
        self._url = url
        self._ref = f"refs/heads/{branch}"
        self._author = (author_name, author_email)
        self._pause = pause
        self._signer = signer
        self._verifier = verifier
        self._tip: Commit | None = None
        #: The commit whose files count: the tip, or the newest verified one before it.
        self._believed: Commit | None = None

    @property
    def _repository(self) -> pygit2.Repository:
        return self._copy.repository

    def fetch(self) -> Commit | None:
        """Fetch the branch and return its tip, or None. Raises GitError."""
        return rebuilding(self._fetch, self._copy.remake)

    def _refetch(self) -> None:
        self._copy.remake()
        self.fetch()

    def _fetch(self) -> Commit | None:
        known = self._copy.ref(self._ref)
        tip = self._transport.list_refs(self._url, [self._ref]).commits.get(self._ref)
        if tip is not None and (known != tip or not self._files.has(tip)):
            depth = 1 if known is None else None
            refspec = f"+{self._ref}:{self._ref}"
            self._copy.sweep()
            self._transport.fetch(
                self._copy.path, self._url, [refspec], depth=depth, largest=LARGEST_FETCH
            )
            tip = Commit(self._copy.ref(self._ref) or tip)
            if not self._files.has(tip):
                raise DamagedError(f"{self._copy.path} has not got {tip}, which was fetched")
            self._copy.tidy()
        self._tip, self._believed = tip, self._verified(tip)
        return tip

    def _verified(self, tip: Commit | None) -> Commit | None:
        """Return the tip, or the newest verified commit before it.

        Raises GitError if there is no verified one.
        """
        if tip is None or self._verifier is None or tip == self._believed:
            return tip
        (found,) = self._verifier.check(self._copy.path, [tip])
        if found.refused is None:
            return tip
        known = self._believed
        if known is not None and self._files.has(known):
            return known
        self._transport.fetch(
            self._copy.path, self._url, [f"+{self._ref}:{self._ref}"], depth=MOST_COMMITS
        )
        self._copy.reopen()
        earlier = self._files.history(tip, first_parents=True, limit=MOST_COMMITS)
        verified = self._verifier.first_verified(self._copy.path, earlier)
        if verified is None:
            raise GitError(
                f"none of the last {len(earlier)} commits of {self._ref} is signed by "
                "status.signingKeyFile or an allowed signer; to take the branch over, sign a "
                "commit on top of it"
            )
        return verified

    @property
    def _files(self) -> Repository:
        return Repository(self._repository)

    def read(self, path: str) -> bytes | None:
        """Return a file of the believed commit, or None. Raises GitError."""
        at = self._believed
        return self._files.read_file(at, path, LARGEST_UNPACKED) if at else None

    @property
    def forged(self) -> bool:
        """True if the tip is unverified, and its files do not count."""
        return self._believed != self._tip

    def reading(self, read: Callable[[], T]) -> T:
        """Run a read, and again if the copy is damaged. Raises GitError."""
        return rebuilding(read, self._refetch)

    def read_all(
        self, wanted: Callable[[str], bool] = lambda _: True
    ) -> Iterator[tuple[str, bytes | None]]:
        """Yield path and content of the wanted files of the believed commit.

        The content is None beyond the bounds of :meth:`Repository.read_all`. Raises GitError.
        """
        if self._believed is not None:
            yield from self._files.read_all(self._believed, wanted)

    def push(
        self,
        changes: Mapping[str, bytes | None],
        message: str,
        *,
        guard: Callable[[], bool] = lambda: True,
        restore: Callable[[str], bool] | None = None,
    ) -> Commit | None:
        """Commit exactly these changes (None deletes) on the tip, and push them.

        If another writer pushed in between, its commit is fetched and the same changes are made on
        top of it. Changes that are there already make no commit, and None is returned.
        ``guard`` is called before each try; GitError is raised where it returns False, as for any
        failure. ``restore``: where the branch was deleted or rewritten instead, those of its former
        files are committed again. Otherwise the branch is taken as it is.
        """
        seen = self._tip
        for number in range(1, PUSH_TRIES + 1):
            moved = seen is not None and self._tip != seen
            if restore and seen is not None and moved and not self._goes_on_from(seen):
                former = self._files.read_all(seen, restore)
                kept = {path: data for path, data in former if data is not None}
                changes = {**kept, **changes}
            seen = self._tip
            commit = self._make(changes, message)
            if commit is None:
                return None
            if not self.reading(guard):
                raise GitError(f"{self._ref} is another daemon's to write now")
            if not self._files.has(commit):
                continue  # the copy was made anew meanwhile
            try:
                self._transport.push(self._copy.path, self._url, commit, self._ref)
            except PushRejectedError:
                self._pause(RETRY.delay(number))
                self.fetch()
            except DamagedError:
                self._refetch()
            else:
                self._pushed(commit)
                return commit
        raise GitError(
            f"{self._ref} was moved by others {PUSH_TRIES} times in a row", Trouble.CONFLICT
        )

    def _goes_on_from(self, seen: Commit) -> bool:
        """Return whether the tip descends from a commit that was the tip.

        Also true where that commit is not in the copy any more.
        """
        if not self._files.has(seen):
            return True
        if self._tip is None:
            return False
        done = run_git(
            [f"--git-dir={self._copy.path}", "merge-base", "--is-ancestor", seen, self._tip],
            env=environment(self._copy.path),
            timeout=DEFAULT_TIMEOUT,
        )
        return done.code != 1

    def _make(self, changes: Mapping[str, bytes | None], message: str) -> Commit | None:
        """Make the commit, not pushed yet; None where it would change nothing."""
        with writing(self._copy.path):
            make = partial(self._make_once, changes, message)
            return rebuilding(make, self._refetch, damage=READ_ERRORS)

    def _make_once(self, changes: Mapping[str, bytes | None], message: str) -> Commit | None:
        tree = self._tree(changes)
        if self._tip is not None and self._commit_of(self._tip).tree.id == tree:
            return None
        return write_commit(
            self._repository,
            tree,
            message,
            author=self._author,
            parents=[self._tip] if self._tip else [],
            signer=self._signer,
        )

    def _pushed(self, commit: Commit) -> None:
        self._tip = self._believed = commit
        with suppress(DamagedError, pygit2.GitError, OSError):
            self._repository.references.create(self._ref, commit, force=True)
            self._copy.tidy()
            return
        self._refetch()

    def _commit_of(self, commit: Commit) -> pygit2.Commit:
        found = self._repository[commit]
        assert isinstance(found, pygit2.Commit)
        return found

    def _tree(self, changes: Mapping[str, bytes | None]) -> pygit2.Oid:
        """Write the believed commit's tree with the changes in it.

        Only folders that change are written. Raises ValueError where a path would be both a
        file and a folder.
        """
        root = self._commit_of(self._believed).tree if self._believed else None
        nested: dict[str, object] = {}
        # Written files first: a file that is deleted may give way to a folder, or a folder to it.
        for path, data in sorted(changes.items(), key=lambda change: change[1] is None):
            *folders, name = path.split("/")
            folder: object = nested
            for part in folders:
                folder = folder.setdefault(part, {}) if isinstance(folder, dict) else None
            if isinstance(folder, dict):
                folder.setdefault(name, data)
            elif data is not None:
                raise ValueError(f"{path} would be both a file and a folder")
        oid = self._folder(root, nested)
        return oid if oid is not None else self._repository.TreeBuilder().write()

    def _folder(
        self, before: pygit2.Tree | None, changes: Mapping[str, object]
    ) -> pygit2.Oid | None:
        """Write a folder with its changes; None where it becomes empty."""
        builder = self._repository.TreeBuilder(before) if before else self._repository.TreeBuilder()
        for name, change in changes.items():
            known = before[name] if before is not None and name in before else None
            if isinstance(change, Mapping):
                inner = known if isinstance(known, pygit2.Tree) else None
                oid, mode = self._folder(inner, change), FileMode.TREE
            elif isinstance(change, bytes):
                oid, mode = self._repository.create_blob(change), FileMode.BLOB
            else:
                oid, mode = None, FileMode.BLOB
            if oid is not None:
                builder.insert(name, oid, mode)
            elif isinstance(change, Mapping) and not isinstance(known, pygit2.Tree):
                continue  # deleted from a folder that is not there
            elif known is not None:
                builder.remove(name)
        return builder.write() if len(builder) else None
