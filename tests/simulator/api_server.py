"""An API server in memory: objects, versions, watches."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.simulator.loop import SimulatedLoop

_PATH = re.compile(
    r"/(?:api/v1|apis/[^/]+/[^/]+)(?:/namespaces/(?P<ns>[^/]+))?/(?P<plural>[a-z]+)"
    r"(?:/(?P<name>[^/]+))?"
)
#: Changes that a watch can go on from; an older one is told to list anew.
KEPT = 200
BOOKMARK = 60.0

Object = dict[str, Any]
Place = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """One change of an object, as a watch tells it."""

    version: int
    plural: str
    namespace: str
    labels: Mapping[str, str]
    line: bytes


@dataclass(eq=False, slots=True)
class Watch:
    """A watch that is open; ``push`` takes lines, in their order."""

    plural: str
    namespace: str | None
    selector: Mapping[str, str]
    push: Callable[[bytes], None]
    open: bool = True

    def wants(self, change: Change) -> bool:
        return (
            change.plural == self.plural
            and self.namespace in (None, change.namespace)
            and self.selector.items() <= change.labels.items()
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """The status and the body of an answer."""

    status: int
    body: bytes


@dataclass
class ApiServer:
    """The objects, and what has changed of them.

    ``changed`` is called after each change of a Job, with the type of the event. ``log`` is what
    a pod has printed, by its namespace and name.
    """

    loop: SimulatedLoop
    objects: dict[Place, Object] = field(default_factory=dict)
    version: int = 0
    changes: deque[Change] = field(default_factory=lambda: deque(maxlen=KEPT))
    watches: list[Watch] = field(default_factory=list)
    changed: Callable[[str, Object], None] = lambda *_: None
    log: Callable[[str, str], bytes] = lambda *_: b""
    _uids: int = 0
    _oldest: int = 0

    # -- what the world does -----------------------------------------------------------------

    def of(self, plural: str) -> Iterator[Object]:
        """All objects of a kind."""
        return iter([found for (kind, *_), found in self.objects.items() if kind == plural])

    def put(self, plural: str, found: Object) -> Object:
        """Create or change an object."""
        meta = found["metadata"]
        place = (plural, meta.get("namespace", ""), meta["name"])
        event = "MODIFIED" if place in self.objects else "ADDED"
        if event == "ADDED":
            self._uids += 1
            meta["uid"] = f"uid-{self._uids}"
            meta["creationTimestamp"] = self.time()
        self._commit(event, place, found)
        return found

    def remove(self, plural: str, found: Object) -> None:
        """Remove an object, if it is still there."""
        meta = found["metadata"]
        place = (plural, meta.get("namespace", ""), meta["name"])
        known = self.objects.get(place)
        if known is not None and known["metadata"]["uid"] == meta["uid"]:
            self._commit("DELETED", place, known)

    def time(self) -> str:
        return self.loop.wall().strftime("%Y-%m-%dT%H:%M:%SZ")

    def _commit(self, event: str, place: Place, found: Object) -> None:
        self.version += 1
        found["metadata"]["resourceVersion"] = str(self.version)
        if event == "DELETED":
            del self.objects[place]
        else:
            self.objects[place] = found
        line = msgspec.json.encode({"type": event, "object": found}) + b"\n"
        labels = dict(found["metadata"].get("labels", {}))
        change = Change(self.version, place[0], place[1], labels, line)
        self.changes.append(change)
        for watch in self.watches:
            if watch.wants(change):
                watch.push(line)
        if place[0] == "jobs":
            self.changed(event, found)

    # -- what is asked of it -----------------------------------------------------------------

    def handle(self, method: str, path: str, query: Mapping[str, str], body: Any) -> Answer:
        """Answer a request."""
        if path.endswith("/log"):
            *_, namespace, _, pod, _ = path.split("/")
            return Answer(200, self.log(namespace, pod))
        found = _PATH.fullmatch(path)
        assert found is not None, path
        plural, namespace, name = found["plural"], found["ns"] or "", found["name"]
        match method:
            case "GET" if name is None:
                return self._list(plural, found["ns"], query)
            case "GET":
                return self._get((plural, namespace, name))
            case "POST":
                return self._create(plural, namespace, body)
            case "PUT":
                return self._replace((plural, namespace, name), body)
            case "DELETE":
                return self._delete((plural, namespace, name), body)
        raise AssertionError(method)

    def _list(self, plural: str, namespace: str | None, query: Mapping[str, str]) -> Answer:
        selector = selected(query)
        items = [
            found
            for (kind, ns, _), found in sorted(self.objects.items())
            if kind == plural
            and namespace in (None, ns)
            and selector.items() <= found["metadata"].get("labels", {}).items()
        ]
        page = {"items": items, "metadata": {"resourceVersion": str(self.version)}}
        return Answer(200, msgspec.json.encode(page))

    def _get(self, place: Place) -> Answer:
        found = self.objects.get(place)
        return _ok(found) if found is not None else _refused(404, "not found")

    def _create(self, plural: str, namespace: str, body: Any) -> Answer:
        found: Object = msgspec.json.decode(msgspec.json.encode(body))
        found["metadata"]["namespace"] = namespace
        if (plural, namespace, found["metadata"]["name"]) in self.objects:
            return _refused(409, "already exists")
        return _ok(self.put(plural, found), 201)

    def _replace(self, place: Place, body: Any) -> Answer:
        known = self.objects.get(place)
        if known is None:
            return _refused(404, "not found")
        found: Object = msgspec.json.decode(msgspec.json.encode(body))
        meta = known["metadata"]
        if found["metadata"].get("resourceVersion") != meta["resourceVersion"]:
            return _refused(409, "the object has been modified")
        for kept in meta.keys() & {"uid", "creationTimestamp", "deletionTimestamp"}:
            found["metadata"][kept] = meta[kept]
        return _ok(self.put(place[0], found))

    def _delete(self, place: Place, body: Any) -> Answer:
        known = self.objects.get(place)
        if known is None:
            return _refused(404, "not found")
        uid = (body or {}).get("preconditions", {}).get("uid")
        if uid is not None and uid != known["metadata"]["uid"]:
            return _refused(409, "the UID in the precondition does not match")
        if place[0] == "jobs" and (body or {}).get("propagationPolicy") == "Foreground":
            self.end_pods_first(known)
        else:
            self._commit("DELETED", place, known)
        return _ok(known)

    def end_pods_first(self, job: Object) -> None:
        """Begin to delete a Job, which stays until its pods are gone."""
        if "deletionTimestamp" not in job["metadata"]:
            job["metadata"]["deletionTimestamp"] = self.time()
            self.put("jobs", job)

    def watch(self, watch: Watch, since: str) -> None:
        """Open a watch; what it has missed is told first."""
        version = int(since or 0)
        oldest = self.changes[0].version if self.changes else 0
        if version < max(oldest - 1, self._oldest):
            gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
            watch.push(msgspec.json.encode({"type": "ERROR", "object": gone}) + b"\n")
            return
        for change in self.changes:
            if change.version > version and watch.wants(change):
                watch.push(change.line)
        self.watches.append(watch)
        self.loop.later(BOOKMARK, self._bookmark, watch)

    def _bookmark(self, watch: Watch) -> None:
        if watch.open:
            version = {"metadata": {"resourceVersion": str(self.version)}}
            watch.push(msgspec.json.encode({"type": "BOOKMARK", "object": version}) + b"\n")
            self.loop.later(BOOKMARK, self._bookmark, watch)

    def compact(self) -> None:
        """Forget all changes so far."""
        self._oldest = self.version
        self.changes.clear()

    def close(self, watch: Watch) -> None:
        watch.open = False
        if watch in self.watches:
            self.watches.remove(watch)


def selected(query: Mapping[str, str]) -> dict[str, str]:
    """The labels of a selector of equalities."""
    text = query.get("labelSelector", "")
    return dict(part.split("=", 1) for part in text.split(",") if part)


def _ok(found: Object, status: int = 200) -> Answer:
    return Answer(status, msgspec.json.encode(found))


def _refused(code: int, message: str) -> Answer:
    status = {"kind": "Status", "code": code, "message": message, "reason": message}
    return Answer(code, msgspec.json.encode(status))
