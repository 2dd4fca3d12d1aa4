"""Where the sources that manifests name stand: asked in each sync, worked out where it differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.config.model import Setup
from reconciler.git.repository import Repository
from reconciler.git.sources import Sources
from reconciler.manifests.loader import Manifest
from reconciler.planner import differing, same_keys
from reconciler.types import Commit, GitSource, ObjectRef
from reconciler.workspace.commit_reader import Head
from reconciler.workspace.planning import (
    Requests,
    Resolutions,
    own_sources,
    source_request,
    source_requests,
)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What objects ask for; ``remote`` are those sources that are in other repositories."""

    objects: Mapping[ObjectRef, Manifest] = field(default_factory=dict)
    requests: Requests = field(default_factory=dict)
    remote: frozenset[GitSource] = frozenset()


class SourceLook:
    """Keeps what it was asked the last time, and what of the answer cannot have changed since."""

    def __init__(self, setup: Setup, repository: Repository, sources: Sources) -> None:
        self._url = setup.repository_url
        self._allow = setup.sources_allow
        self._repository = repository
        self._sources = sources
        self._asked = _Asked()
        self._own: tuple[Commit | None, Requests, Resolutions] = None, {}, {}
        self._found: Resolutions = {}

    def look(
        self, objects: Mapping[ObjectRef, Manifest], head: Head
    ) -> tuple[Requests, Resolutions]:
        """What each object's source resolves to, and where each of those stands.

        May take as long as remotes take to answer, within the patience of ``sources``.
        """
        if self._asked.objects is not objects:
            requests = self._amended(objects)
            if requests is None:
                requests = source_requests(objects, repository_url=self._url, allow=self._allow)
            remote = (r for r in requests.values() if isinstance(r, GitSource) and r.url)
            self._asked = _Asked(objects, requests, frozenset(remote))
        asked = self._asked
        if self._own[0] != head.commit or self._own[1] is not asked.requests:
            found = own_sources(asked.requests, self._repository, head)
            self._own = head.commit, asked.requests, found
        found = {**self._own[2], **self._sources.resolve(asked.remote)}
        if found != self._found:
            self._found = found
        return asked.requests, self._found

    def _amended(self, objects: Mapping[ObjectRef, Manifest]) -> Requests | None:
        """What was asked the last time, with what differs; None where that is not the same few."""
        before = self._asked
        if not same_keys(before.objects, objects):
            return None
        now = {
            ref: source_request(objects[ref], repository_url=self._url, allow=self._allow)
            for ref in differing(before.objects, objects)
        }
        if any((request is None) != (ref not in before.requests) for ref, request in now.items()):
            return None
        new = {
            ref: request
            for ref, request in now.items()
            if request is not None and request != before.requests[ref]
        }
        return {**before.requests, **new} if new else before.requests
