"""Git sources: their commits and their files.

Each URL is looked up once per interval. A look-up of refs gives a commit but not the tree of a
folder in it, so the commit is fetched too, shallow where the transport can, into one bare
repository per URL. What was once resolved for a commit never changes and is kept.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import pygit2
from pygit2.enums import FileMode

from reconciler.backoff import Backoff, jittered
from reconciler.errors import GitError
from reconciler.git.command import environment, run_git
from reconciler.git.credentials import CredentialTable
from reconciler.git.errors import SourceFaultError, unresolved
from reconciler.git.export import Budget, export_tree
from reconciler.git.lookup_limits import Hosts, Workers
from reconciler.git.object_store import Store
from reconciler.git.repository import Repository
from reconciler.git.transport import DEFAULT_TIMEOUT, LARGEST_FETCH, RemoteRefs, Transport
from reconciler.git.trees import entry_at
from reconciler.reasons import UnresolvedSource
from reconciler.types import (
    BuildContext,
    Commit,
    GitSource,
    ResolvedSource,
    TreeId,
)
from reconciler.urls import redact, resolve_url

Resolution = ResolvedSource | UnresolvedSource
RETRY_FIRST = 5.0
UNDER_WAY_POLL = 2.0
THREADS = 16
DEEPEST_SUBMODULE = 5
MOST_SUBMODULES = 200
#: Resolved folders, and URLs, that are remembered.
MOST_TREES = 10_000
MOST_URLS = 1_000
T = TypeVar("T")


@dataclass(slots=True)
class _Seen:
    """The last look-up of a URL, and the next one's time.

    ``unfetched`` has the commits that could not be fetched since then, with the error: they are not
    to be tried at each sync.
    """

    refs: RemoteRefs | GitError | None = None
    due: float = 0.0
    failures: int = 0
    unfetched: dict[Commit, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Sources:
    """Look-ups and exports of sources. Safe to use from several threads.

    ``interval`` is in seconds; ``allowed`` says which URLs submodules and redirects may lead to.
    ``patience`` is for how many seconds :meth:`resolve` waits for remotes; None is without a bound.
    ``largest`` is the most that is fetched of a source at once, in bytes.
    """

    def __init__(
        self,
        root: Path,
        *,
        credentials: CredentialTable,
        interval: float,
        timeout: float = DEFAULT_TIMEOUT,
        per_host: int = 4,
        largest: int = LARGEST_FETCH,
        patience: float | None = None,
        allowed: Callable[[str], bool] = lambda _: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = Transport(credentials, root / "home", timeout, allowed)
        self._store = Store(root, self._transport, largest)
        self._interval = interval
        self.patience = patience
        self._allowed = allowed
        self._clock = clock
        self._workers: Workers[dict[GitSource, Resolution]] = Workers(THREADS)
        self._under_way: dict[str, Future[dict[GitSource, Resolution]]] = {}
        self._seen: dict[str, _Seen] = defaultdict(_Seen)
        self._trees: OrderedDict[tuple[str, Commit, str], TreeId | str] = OrderedDict()
        self._hosts = Hosts(per_host, clock)
        self._guard = threading.Lock()
        self._asked: frozenset[str] = frozenset()

    def resolve(
        self, requests: Collection[GitSource], *, refresh: Collection[str] = ()
    ) -> dict[GitSource, Resolution]:
        """Resolve each source, from memory while its look-up is fresh.

        URLs in ``refresh`` are looked up again, however fresh.

        A look-up that takes longer than the patience goes on in its thread; its sources are
        answered with their last known state, and :meth:`due` says when to call again.
        """
        by_url: dict[str, list[GitSource]] = defaultdict(list)
        for request in requests:
            by_url[request.url].append(request)
        started = {}
        with self._guard:
            self._asked = frozenset(by_url)
            self._forget()
            for url, asked in by_url.items():
                if url in refresh:
                    self._seen[url].due = 0.0
                known = self._under_way.get(url)
                if known is None or known.done():
                    job = partial(self._of_url, url, asked)
                    started[url] = self._under_way[url] = self._workers.submit(job)
        wait(started.values(), self.patience)
        found: dict[GitSource, Resolution] = {}
        for url, asked in by_url.items():
            future = started.get(url)
            if future is not None and future.done():
                with self._guard:
                    self._under_way.pop(url, None)
                found |= future.result()
            else:
                found |= {request: self._last_known(request) for request in asked}
        return found

    def _last_known(self, request: GitSource) -> Resolution:
        """Return a source's last known state, as its look-up is under way."""
        refs = self._seen_of(request.url).refs
        if isinstance(refs, RemoteRefs):
            with suppress(GitError):
                _, commit = _choose(request, refs)
                tree = self._trees.get((request.url, commit, request.path))
                if tree:
                    return ResolvedSource(commit, TreeId(tree))
        said = f" ({refs})" if isinstance(refs, GitError) else ""
        return UnresolvedSource.unavailable(f"{redact(request.url)} is still being looked up{said}")

    def due(self) -> float:
        """Return the seconds until :meth:`resolve` may have something new.

        That is when a look-up is no longer fresh, or one under way has ended.
        """
        now = self._clock()
        with self._guard:
            waits = []
            for url in self._asked:
                future = self._under_way.get(url)
                if future is None:
                    waits.append(self._seen[url].due - now)
                else:
                    waits.append(0.0 if future.done() else UNDER_WAY_POLL)
        return max(0.0, min(waits, default=self._interval))

    def export(self, context: BuildContext, destination: Path) -> None:
        """Write a build context into a new or empty folder. Raises GitError."""
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

    def _forget(self) -> None:
        """Forget URLs that no request names any more, once they are many."""
        if len(self._seen) > MOST_URLS:
            for url in self._seen.keys() - self._asked:
                if not self._seen[url].lock.locked():
                    del self._seen[url]

    def _of_url(self, url: str, requests: Iterable[GitSource]) -> dict[GitSource, Resolution]:
        seen = self._seen_of(url)
        with seen.lock:
            if seen.refs is None or self._clock() >= seen.due:
                self._look_up(url, seen)
            return {request: self._where(request, seen) for request in requests}

    def _where(self, request: GitSource, seen: _Seen) -> Resolution:
        if not isinstance(seen.refs, RemoteRefs):
            return UnresolvedSource.unavailable(str(seen.refs))
        try:
            return self._resolve(request, seen.refs, seen)
        except GitError as error:
            return unresolved(error)

    def _look_up(self, url: str, seen: _Seen) -> None:
        self._store.still_named(url)
        try:
            seen.refs = self._hosts.call(url, self._transport.list_refs)
        except GitError as error:
            seen.refs = error
            self._failed(seen)
            return
        if not seen.unfetched:
            seen.failures = 0
        seen.unfetched = {}
        seen.due = self._clock() + jittered(self._interval)

    def _failed(self, seen: _Seen) -> None:
        """Schedule the next try by the failures in a row."""
        seen.failures += 1
        retry = Backoff(first=RETRY_FIRST, longest=self._interval)
        seen.due = self._clock() + retry.delay(seen.failures)

    def _resolve(self, request: GitSource, refs: RemoteRefs, seen: _Seen) -> ResolvedSource:
        name, commit = _choose(request, refs)
        if commit in seen.unfetched:
            raise GitError(seen.unfetched[commit])
        slot = (request.url, commit, request.path)
        with self._guard:
            tree = self._trees.get(slot)
            if tree is not None:
                self._trees.move_to_end(slot)
        if tree is None:
            try:
                with self._hosts.slot(request.url):
                    tree = self._store.reading(
                        request.url, commit, name, lambda found: _tree(found, request, commit)
                    )
            except GitError as error:
                seen.unfetched[commit] = str(error)
                self._failed(seen)
                raise
            with self._guard:
                self._trees[slot] = tree
                while len(self._trees) > MOST_TREES:
                    self._trees.popitem(last=False)
        if tree == _NO_FOLDER:
            where = f"{redact(request.url)} has no folder {request.path} at {commit[:12]}"
            raise SourceFaultError(where) if request.commit is not None else GitError(where)
        return ResolvedSource(commit, TreeId(tree))

    # -- fetching --------------------------------------------------------------------------

    def _with_commit(self, url: str, commit: Commit, read: Callable[[pygit2.Repository], T]) -> T:
        with self._seen_of(url).lock, self._hosts.slot(url):
            return self._store.reading(url, commit, None, read)

    def _export_submodules(
        self, base: str, inner: list[Submodule], destination: Path, budget: Budget, *, depth: int
    ) -> None:
        if depth > DEEPEST_SUBMODULE or len(inner) > MOST_SUBMODULES:
            raise SourceFaultError(
                f"more than {MOST_SUBMODULES} submodules, or nested deeper than {DEEPEST_SUBMODULE}"
            )
        for module in inner:
            url = resolve_url(base, module.url)
            if not self._allowed(url):
                raise SourceFaultError(f"the submodule {redact(url)} is not in sources.allow")
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


#: In the place of a tree id: the commit has no such folder. That never changes, so it is kept too.
_NO_FOLDER = ""


def _choose(request: GitSource, refs: RemoteRefs) -> tuple[str | None, Commit]:
    """Return the ref and commit that a source names. Raises GitError."""
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


_LARGEST = 64 << 10
_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Submodule:
    """A submodule; ``path`` is its place within the exported folder."""

    path: str
    url: str
    commit: Commit


def submodules(repository: pygit2.Repository, commit: Commit, folder: str) -> list[Submodule]:
    """Return the submodules in a folder of a commit.

    One without a URL is left out.
    """
    found = repository[commit]
    assert isinstance(found, pygit2.Commit)
    entry = entry_at(found.tree, ".gitmodules")
    if not isinstance(entry, pygit2.Blob) or entry.size > _LARGEST:
        return []
    modules = []
    for path, url in _listed(Path(repository.path), commit):
        inside = _inside(path, folder)
        link = entry_at(found.tree, path) if inside else None
        if inside and link is not None and link.filemode == FileMode.COMMIT:
            modules.append(Submodule(inside, url, Commit(str(link.id))))
    return modules


def _inside(path: str, folder: str) -> str | None:
    if not folder:
        return path
    prefix = f"{folder}/"
    return path.removeprefix(prefix) if path.startswith(prefix) else None


def _listed(repository: Path, commit: Commit) -> list[tuple[str, str]]:
    """Return path and URL of each submodule, as read by ``git config``.

    Git itself handles quotes and comments, and the last of several values counts. It follows no
    includes in a blob.
    """
    options = ["--null", "--get-regexp", r"^submodule\..*\.(path|url)$"]
    done = run_git(
        [f"--git-dir={repository}", "config", f"--blob={commit}:.gitmodules", *options],
        env=environment(repository),
        timeout=_TIMEOUT,
    )
    if done.code != 0:  # there is none, or it is no configuration
        return []
    modules: dict[str, dict[str, str]] = {}
    for entry in done.out.split("\0"):
        key, _, value = entry.partition("\n")
        name, _, variable = key.rpartition(".")
        modules.setdefault(name, {})[variable] = value
    return [
        (module["path"], module["url"])
        for module in modules.values()
        if module.get("path") and module.get("url")
    ]
