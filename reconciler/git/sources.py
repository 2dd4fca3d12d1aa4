"""Where Git sources stand, and what is in them: one look-up per URL and interval.

A look-up of refs gives a commit but not the tree of a folder in it, so the commit is fetched too,
shallow where the transport can, into one bare repository per URL. What was once resolved for a
commit never changes and is kept.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pygit2

from reconciler.git.credentials import CredentialTable
from reconciler.git.errors import GitError, redact
from reconciler.git.export import export_tree
from reconciler.git.mirror import Repository, open_bare
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


@dataclass(slots=True)
class _Seen:
    """What the last look-up of a URL found, and when the next one is due."""

    refs: RemoteRefs | GitError | None = None
    due: float = 0.0
    failures: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


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
        self._root = root
        self._transport = Transport(credentials, root / "home", timeout)
        self._interval = interval
        self._allowed = allowed
        self._clock = clock
        self._seen: dict[str, _Seen] = defaultdict(_Seen)
        self._trees: dict[tuple[str, Commit, str], TreeId | GitError] = {}
        self._hosts: dict[str, threading.BoundedSemaphore] = defaultdict(
            lambda: threading.BoundedSemaphore(per_host)
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
        seen = self._seen_of(context.url)
        with seen.lock, self._host(context.url):
            repository = self._open(context.url)
            self._need(repository, context.url, context.commit)
            export_tree(repository, context.tree, destination)
            inner = (
                submodules(repository, context.commit, context.path) if context.submodules else []
            )
        self._export_submodules(context.url, inner, destination, depth=1)

    # -- looking up ------------------------------------------------------------------------

    def _seen_of(self, url: str) -> _Seen:
        with self._guard:
            return self._seen[url]

    def _host(self, url: str) -> threading.BoundedSemaphore:
        with self._guard:
            return self._hosts[host_of(url)]

    def _of_url(
        self, url: str, requests: Iterable[GitSource], *, refresh: bool
    ) -> dict[GitSource, Resolution]:
        seen = self._seen_of(url)
        with seen.lock:
            if refresh or seen.refs is None or self._clock() >= seen.due:
                self._look_up(url, seen)
            found: dict[GitSource, Resolution] = {}
            for request in requests:
                try:
                    if isinstance(seen.refs, GitError):
                        raise seen.refs
                    assert seen.refs is not None
                    found[request] = self._resolve(request, seen.refs)
                except GitError as error:
                    found[request] = UnresolvedSource(str(error))
            return found

    def _look_up(self, url: str, seen: _Seen) -> None:
        try:
            with self._host(url):
                seen.refs = self._transport.list_refs(self._open(url), url)
            seen.failures = 0
            delay = self._interval * (0.9 + random.random() / 5)  # noqa: S311 -- a jitter
        except GitError as error:
            seen.refs = error
            seen.failures += 1
            delay = min(RETRY_FIRST * 2.0 ** (seen.failures - 1), self._interval)
        seen.due = self._clock() + delay

    def _resolve(self, request: GitSource, refs: RemoteRefs) -> ResolvedSource:
        name, commit = _choose(request, refs)
        slot = (request.url, commit, request.path)
        if slot not in self._trees:
            with self._host(request.url):
                repository = self._open(request.url)
                self._need(repository, request.url, commit, name)
            self._trees[slot] = _tree(repository, request, commit)
        tree = self._trees[slot]
        if isinstance(tree, GitError):
            raise tree
        return ResolvedSource(commit, tree)

    # -- fetching --------------------------------------------------------------------------

    def _open(self, url: str) -> pygit2.Repository:
        digest = hashlib.sha256(url.encode()).hexdigest()[:32]
        return open_bare(self._root / f"{digest}.git")

    def _need(
        self, repository: pygit2.Repository, url: str, commit: Commit, name: str | None = None
    ) -> None:
        """Have a commit: by the ref that points to it, by its id, or by fetching everything."""
        known = Repository(repository)
        if known.has(commit):
            return
        kept = f"refs/reconciler/{commit}"
        if name is not None:
            self._transport.fetch(repository, url, [f"+{name}:{kept}"], depth=1)
            if known.has(commit):
                return
        try:
            self._transport.fetch(repository, url, [f"+{commit}:{kept}"], depth=1)
        except GitError:
            everything = ["+refs/heads/*:refs/all/heads/*", "+refs/tags/*:refs/all/tags/*"]
            self._transport.fetch(repository, url, everything)
        if not known.has(commit):
            raise GitError(f"{redact(url)} has no commit {commit} on any branch or tag")

    def _export_submodules(
        self, base: str, inner: list[Submodule], destination: Path, *, depth: int
    ) -> None:
        if inner and depth > DEEPEST_SUBMODULE:
            raise GitError(f"submodules are nested deeper than {DEEPEST_SUBMODULE}")
        for module in inner:
            url = resolve_url(base, module.url)
            if not self._allowed(url):
                raise GitError(f"the submodule {url} is not in sources.allow")
            with self._seen_of(url).lock, self._host(url):
                repository = self._open(url)
                self._need(repository, url, module.commit)
                tree = Repository(repository).tree_id(module.commit, "")
                assert tree is not None
                export_tree(repository, tree, destination / module.path)
                deeper = submodules(repository, module.commit, "")
            self._export_submodules(url, deeper, destination / module.path, depth=depth + 1)


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
        raise GitError(f"{redact(request.url)} has no {kind} {shown}")
    return name, commit


def _tree(repository: pygit2.Repository, request: GitSource, commit: Commit) -> TreeId | GitError:
    tree = Repository(repository).tree_id(commit, request.path)
    if tree is None:
        return GitError(f"{redact(request.url)} has no folder {request.path} at {commit[:12]}")
    return tree
