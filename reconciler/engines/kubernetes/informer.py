"""Informers: caches of one kind of object, kept current by a watch.

A watch goes on from the last resourceVersion that was seen, bookmarks included. If the server no
longer knows that version (410), or once in a long while to guard against a watch that lost
something, everything is listed anew. Errors are retried for ever, with backoff: what was known
stays known meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import msgspec
import structlog

from reconciler.backoff import Backoff, jittered
from reconciler.engines.kubernetes.api_errors import ApiError, Expired, Unreachable, from_answer
from reconciler.engines.kubernetes.api_types import ListMetadata, ObjectMeta, Status
from reconciler.engines.kubernetes.client import Api

log = structlog.get_logger(__name__)

PAGE = 500
#: Seconds after which a watch is begun anew, and all is listed anew; each with a jitter.
WATCH_SECONDS = 300.0
RELIST_SECONDS = 3600.0
#: The server sends a bookmark about every minute; silence for longer is a broken connection.
SILENCE_SECONDS = 150.0
RETRY = Backoff(first=0.5, longest=30.0)


class HasMetadata(Protocol):
    """An object of any kind."""

    @property
    def metadata(self) -> ObjectMeta:
        """Metadata of the object."""
        ...


T = TypeVar("T", bound=HasMetadata)
Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ResourceType:
    """A kind of object in URLs: ``/apis/batch/v1``, ``jobs``."""

    prefix: str
    plural: str

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """Return the path of all namespaces, of one, or of one object."""
        place = f"/namespaces/{namespace}" if namespace else ""
        return f"{self.prefix}{place}/{self.plural}{f'/{name}' if name else ''}"


JOBS = ResourceType("/apis/batch/v1", "jobs")
PODS = ResourceType("/api/v1", "pods")
EVENTS = ResourceType("/api/v1", "events")


class Informer(Generic[T]):
    """The objects that a label selector selects, by (namespace, name).

    ``namespace`` None is all of them. ``changed`` is called whenever an object came, changed or
    went, and must not block.
    """

    def __init__(
        self,
        api: Api,
        collection: ResourceType,
        kind: type[T],
        *,
        selector: str,
        changed: Callable[[], None],
        namespace: str | None = None,
    ) -> None:
        self.namespace = namespace
        self._api = api
        self._collection = collection
        self._path = collection.path(namespace)
        self._what = collection.plural
        self._selector = selector
        self._changed = changed
        self._objects: dict[Name, T] = {}
        self._version = ""
        self._list: msgspec.json.Decoder[_List[T]] = msgspec.json.Decoder(_List[kind])  # type: ignore[valid-type]
        self._object = msgspec.json.Decoder(kind)
        self._event = msgspec.json.Decoder(_Event)
        self.synced = asyncio.Event()
        self.relists = 0
        self._failures = 0
        self._expired = 0

    def __iter__(self) -> Iterator[T]:
        return iter(self._objects.values())

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, namespace: str, name: str) -> T | None:
        """Return the object as last seen."""
        return self._objects.get((namespace, name))

    def learn(self, data: bytes) -> T:
        """Store an object that the server answered with, ahead of the watch."""
        found = self._object.decode(data)
        known = self._objects.get(_name(found))
        if known is None or known.metadata.uid != found.metadata.uid:
            self._objects[_name(found)] = found
            self._changed()
        return found

    async def list_selected(self, namespace: str, selector: str) -> None:
        """List and store objects that the watch has not brought. Raises ApiError."""
        query = {"labelSelector": f"{self._selector},{selector}", "limit": str(PAGE)}
        page = self._list.decode(await self._api.get(self._collection.path(namespace), query))
        for item in page.items:
            if self._objects.setdefault(_name(item), item) is item:
                self._changed()

    async def check(self) -> None:
        """Check that listing is allowed.

        Raises ApiError, but not if the server is away.
        """
        with contextlib.suppress(Unreachable):
            await self._api.get(self._path, {"labelSelector": self._selector, "limit": "1"})

    async def run(self) -> None:
        """List and watch until cancelled."""
        failures = 0
        while True:
            try:
                await self._relist()
                failures = 0
                await self._watch_until(time.monotonic() + jittered(RELIST_SECONDS))
            except Expired as error:
                log.info("the watch is too old to go on; listing anew", what=self._what)
                self._expired += 1
                if self._expired > 1:  # what was listed a moment ago is not old
                    await self._back_off(error, self._expired - 1)
            except (ApiError, msgspec.MsgspecError) as error:
                failures += 1
                await self._back_off(error, failures)

    async def _relist(self) -> None:
        found: dict[Name, T] = {}
        query = {"labelSelector": self._selector, "limit": str(PAGE)}
        while True:
            page = self._list.decode(await self._api.get(self._path, query))
            found.update((_name(item), item) for item in page.items)
            if not page.metadata.continue_:
                break
            query["continue"] = page.metadata.continue_
        self._objects = found
        self._version = page.metadata.resource_version
        self.relists += 1
        self.synced.set()
        self._changed()

    async def _watch_until(self, end: float) -> None:
        """Watch, and begin anew whenever the watch ends. Raises Expired.

        The server or the network may end it.
        """
        self._failures = 0
        while time.monotonic() < end:
            try:
                await self._watch()
            except Expired:
                raise
            except ApiError as error:
                self._failures += 1
                await self._back_off(error, self._failures)

    async def _watch(self) -> None:
        query = {
            "labelSelector": self._selector,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(int(jittered(WATCH_SECONDS))),
        }
        async with self._api.watch(self._path, query, silence=SILENCE_SECONDS) as lines:
            self._failures = 0  # one that is cut again and again is still one that works
            async for line in lines:
                self._take(self._event.decode(line))

    def _take(self, event: _Event) -> None:
        if event.type == "ERROR":
            status = msgspec.json.decode(event.object, type=Status)
            raise from_answer(status.code, bytes(event.object), None)
        found = self._object.decode(event.object)
        self._expired = 0
        self._version = found.metadata.resource_version
        if event.type == "BOOKMARK":
            return
        if event.type == "DELETED":
            self._objects.pop(_name(found), None)
        else:
            self._objects[_name(found)] = found
        self._changed()

    async def _back_off(self, error: Exception, failures: int) -> None:
        retry_after = getattr(error, "retry_after", None) or 0.0
        delay = RETRY.delay(failures, at_least=min(retry_after, RETRY.longest))
        log.warning(
            "the cluster cannot be watched",
            what=self._what,
            error=str(error),
            retry=round(delay, 1),
        )
        await asyncio.sleep(delay)


class _List(msgspec.Struct, Generic[T], frozen=True):
    items: list[T]
    metadata: ListMetadata = ListMetadata()


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


def _name(found: HasMetadata) -> Name:
    return found.metadata.namespace, found.metadata.name
