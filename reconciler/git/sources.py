"""Where Git sources stand, and what is in them: one look-up per URL and interval.

A look-up of refs gives a commit but not the tree of a folder in it, so the commit is fetched too,
shallow where the transport can, into one bare repository per URL. What was once resolved for a
commit never changes and is kept.
"""

from __future__ import annotations

import random
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pygit2

from reconciler.git.command import LateError
from reconciler.git.credentials import CredentialTable
from reconciler.git.errors import GitError, redact
from reconciler.git.export import Budget, export_tree
from reconciler.git.repository import Repository
from reconciler.git.store import Store
from reconciler.git.submodules import Submodule, submodules
from reconciler.git.transport import DEFAULT_TIMEOUT, RemoteRefs, Transport
from reconciler.git.url import host_of, resolve_url
from reconciler.types import (
    BuildContext,
    Commit,
    GitSource,
    ResolvedSource,
    TreeId,
    UnresolvedSource,
)

Resolution = ResolvedSource | UnresolvedSource
RETRY_FIRST = 5.0
THREADS = 16
DEEPEST_SUBMODULE = 5
MOST_SUBMODULES = 200
#: Resolved folders, and URLs, that are remembered.
MOST_TREES = 10_000
MOST_URLS = 1_000
T = TypeVar("T")


@dataclass(slots=True)
class _Seen:
    """What the last look-up of a URL found, and when the next one is due."""

    refs: RemoteRefs | GitError | None = None
    due: float = 0.0
    failures: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(slots=True)
class _Host:
    """How many may ask a host at once, and until when it is left alone: it did not answer."""

    places: threading.BoundedSemaphore
    alone_until: float = 0.0
    error: str = ""


class Sources:
    """Looks sources up and exports them. Safe to use from several threads.

    ``interval`` is in seconds; ``allowed`` says which URLs a submodule may have.
    """

    def __init__(
        self,
        root: Path,
        *,
        credentials: CredentialTable,
        interval: float,
        timeout: float = DEFAULT_TIMEOUT,
        per_host: int = 4,
        allowed: Callable[[str], bool] = lambda _: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = Transport(credentials, root / "home", timeout)
        self._store = Store(root, self._transport)
        self._interval = interval
        self._allowed = allowed
        self._clock = clock
        self._seen: dict[str, _Seen] = defaultdict(_Seen)
        self._trees: OrderedDict[tuple[str, Commit, str], TreeId | str] = OrderedDict()
        self._hosts: dict[str, _Host] = defaultdict(
            lambda: _Host(threading.BoundedSemaphore(per_host))
        )
        self._guard = threading.Lock()
        self._asked: frozenset[str] = frozenset()

    def resolve(
        self, requests: Collection[GitSource], *, refresh: bool = False
    ) -> dict[GitSource, Resolution]:
        """Where each source stands, from memory while the last look-up is fresh."""
        by_url: dict[str, list[GitSource]] = defaultdict(list)
        for request in requests:
            by_url[request.url].append(request)
        with self._guard:
            self._asked = frozenset(by_url)
            self._forget()
        if not by_url:
            return {}
        with ThreadPoolExecutor(min(THREADS, len(by_url))) as pool:
            found = pool.map(lambda item: self._of_url(*item, refresh=refresh), by_url.items())
            return {request: where for part in found for request, where in part.items()}

    def due(self) -> float:
        """Seconds until a look-up that was last asked for is no longer fresh."""
        with self._guard:
            dues = [self._seen[url].due for url in self._asked]
        return max(0.0, min(dues, default=self._clock() + self._interval) - self._clock())

    def export(self, context: BuildContext, destination: Path) -> None:
        """Write a build context's files into a new or empty folder. Raises GitError."""
        budget = Budget()

        def write(repository: pygit2.Repository) -> list[Submodule]:
            export_tree(repository, context.tree, destination, budget=budget)
            if not context.submodules:
                return []
            return submodules(repository, context.commit, context.path)

        inner = self._with_commit(context.url, context.commit, write)
        if inner:
            self._export_submodules(context.url, inner, destination, budget, depth=1)

    # -- looking up ------------------------------------------------------------------------

    def _seen_of(self, url: str) -> _Seen:
        with self._guard:
            return self._seen[url]

    def _host(self, url: str) -> _Host:
        with self._guard:
            return self._hosts[host_of(url)]

    def _forget(self) -> None:
        """Forget URLs that nobody asks for any more, once they are many."""
        if len(self._seen) > MOST_URLS:
            for url in self._seen.keys() - self._asked:
                if not self._seen[url].lock.locked():
                    del self._seen[url]

    def _of_url(
        self, url: str, requests: Iterable[GitSource], *, refresh: bool
    ) -> dict[GitSource, Resolution]:
        seen = self._seen_of(url)
        with seen.lock:
            if refresh or seen.refs is None or self._clock() >= seen.due:
                self._look_up(url, seen)
            found: dict[GitSource, Resolution] = {}
            for request in requests:
                if not isinstance(seen.refs, RemoteRefs):
                    found[request] = UnresolvedSource(str(seen.refs))
                    continue
                try:
                    found[request] = self._resolve(request, seen.refs)
                except GitError as error:
                    found[request] = UnresolvedSource(str(error))
            return found

    def _look_up(self, url: str, seen: _Seen) -> None:
        try:
            seen.refs = self._ask(url)
            seen.failures = 0
            delay = self._interval * (0.9 + random.random() / 5)  # noqa: S311 -- a jitter
        except GitError as error:
            seen.refs = error
            seen.failures += 1
            delay = min(RETRY_FIRST * 2.0 ** (seen.failures - 1), self._interval)
            delay *= 0.9 + random.random() / 5  # noqa: S311 -- a jitter
        seen.due = self._clock() + delay

    def _ask(self, url: str) -> RemoteRefs:
        """Look a URL up. A host that did not answer is left alone for a while by all its URLs.

        Otherwise each of them would take a deadline's time, and every sync wait for the sum.
        """
        host = self._host(url)
        with host.places:
            if self._clock() < host.alone_until:
                raise GitError(f"{redact(url)} was not asked again yet, as {host.error}")
            try:
                return self._transport.list_refs(url)
            except LateError as error:
                host.error = str(error)
                host.alone_until = self._clock() + RETRY_FIRST
                raise

    def _resolve(self, request: GitSource, refs: RemoteRefs) -> ResolvedSource:
        name, commit = _choose(request, refs)
        slot = (request.url, commit, request.path)
        with self._guard:
            tree = self._trees.get(slot)
            if tree is not None:
                self._trees.move_to_end(slot)
        if tree is None:
            with self._host(request.url).places:
                tree = self._store.reading(
                    request.url, commit, name, lambda found: _tree(found, request, commit)
                )
            with self._guard:
                self._trees[slot] = tree
                while len(self._trees) > MOST_TREES:
                    self._trees.popitem(last=False)
        if tree == _NO_FOLDER:
            where = f"{redact(request.url)} has no folder {request.path} at {commit[:12]}"
            raise GitError(where)
        return ResolvedSource(commit, TreeId(tree))

    # -- fetching --------------------------------------------------------------------------

    def _with_commit(self, url: str, commit: Commit, read: Callable[[pygit2.Repository], T]) -> T:
        with self._seen_of(url).lock, self._host(url).places:
            return self._store.reading(url, commit, None, read)

    def _export_submodules(
        self, base: str, inner: list[Submodule], destination: Path, budget: Budget, *, depth: int
    ) -> None:
        if depth > DEEPEST_SUBMODULE or len(inner) > MOST_SUBMODULES:
            raise GitError(
                f"more than {MOST_SUBMODULES} submodules, or nested deeper than {DEEPEST_SUBMODULE}"
            )
        for module in inner:
            url = resolve_url(base, module.url)
            if not self._allowed(url):
                raise GitError(f"the submodule {redact(url)} is not in sources.allow")
            place = destination / module.path

            def write(
                repository: pygit2.Repository, at: Commit = module.commit, place: Path = place
            ) -> list[Submodule]:
                tree = Repository(repository).tree_id(at, "")
                assert tree is not None
                export_tree(repository, tree, place, budget=budget)
                return submodules(repository, at, "")

            deeper = self._with_commit(url, module.commit, write)
            if deeper:
                self._export_submodules(url, deeper, place, budget, depth=depth + 1)


#: In the place of a tree id: the commit has no such folder. Never changes, so it is kept too.
_NO_FOLDER = ""


def _choose(request: GitSource, refs: RemoteRefs) -> tuple[str | None, Commit]:
    """The ref and commit that a source asks for. Raises GitError."""
    if request.commit is not None:
        at = [name for name, commit in refs.commits.items() if commit == request.commit]
        return (at[0] if at else None), Commit(request.commit)
    if request.branch is not None:
        name = f"refs/heads/{request.branch}"
    elif request.tag is not None:
        name = f"refs/tags/{request.tag}"
    else:
        name = refs.head or "HEAD"
    commit = refs.commits.get(name)
    if commit is None:
        shown = name.removeprefix("refs/heads/").removeprefix("refs/tags/")
        kind = "tag" if request.tag is not None else "branch"
        empty = "" if refs.commits else "; it is empty"
        raise GitError(f"{redact(request.url)} has no {kind} {shown}{empty}")
    return name, commit


def _tree(repository: pygit2.Repository, request: GitSource, commit: Commit) -> str:
    return Repository(repository).tree_id(commit, request.path) or _NO_FOLDER
