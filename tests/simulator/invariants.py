"""What must hold at any time, checked at each request that changes something.

1. No run of a key is created while the status branch says that it is complete, or has failed for
   good with these settings.
2. No two runs of a key are live, and no two commands of one.
3. Nothing of another's is changed: neither Jobs, nor branches, nor files on the status branch.
4. No live run is ended unless what its object asks for has changed, and no status is taken for that
   of a removed object while its manifest is there.
5. No status is lost, and no push of an earlier leader follows one of a later leader.
6. No more runs are live, and no more GPUs taken, than the limits.
7. Requests are bounded.
8. Nothing is made from an artifact that a gate has not accepted, nor promoted
   (:mod:`tests.simulator.artifact_invariants`).
9. Nothing is hidden or removed that a head, a pin, another cluster, a run, a status or the policy
   keeps, nor by a daemon that could not read all of these; and nothing within the grace time.
10. A guard or the budget is passed by nothing that a user has not released, and a line in the
   release file releases once (:mod:`tests.simulator.hold_invariants`).
11. What a run has cost is in its entry and in the month (:mod:`tests.simulator.cost_invariants`).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pygit2

from reconciler.planner import ObjectStatus
from reconciler.status import SYNC_FILE, load_sync, read_own_sync
from reconciler.types import ObjectRef
from tests.simulator.api_server import Answer, Object
from tests.simulator.artifact_invariants import Artifacts
from tests.simulator.cost_invariants import Costs
from tests.simulator.hold_invariants import Holds, is_of_lab
from tests.simulator.loop import Process
from tests.simulator.manifests import PROMOTED, PROMOTED_FROM
from tests.simulator.objects import (
    COLLECT,
    JOB_NAME,
    execution_hash,
    is_of_task,
    is_over,
    label,
    lineage_of,
    output,
    over,
)
from tests.simulator.site import INSTANCE, LAB, LIMIT, LIMIT_OF_LAB, MANIFESTS, STATUS
from tests.simulator.status_files import Recorded, read_records, read_status, recorded

if TYPE_CHECKING:
    from tests.simulator.author import Author
    from tests.simulator.world import World

#: A file of somebody else on the status branch.
FOREIGN_FILE = "notes-of-somebody.txt"
#: Requests of a process: at once, and more for each second.
BURST, PER_SECOND = 400.0, 6.0
_CREATED = 201
_EPOCH = re.compile(r"^Reconciler-Epoch: (\d+)$", re.MULTILINE)


class Violation(AssertionError):
    """Something happened that must not."""


class Invariants:
    """Watches one world. The first violation is raised at the end of its step."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.author: Author | None = None
        self.artifacts = Artifacts(world)
        self.holds = Holds(world)
        self.costs = Costs(world)
        #: The statuses on the branch, those of removed objects too, and when they were pushed.
        self.records: tuple[ObjectStatus, ...] = ()
        self.pushed_at = 0.0
        self._head = ""
        self.found: Violation | None = None
        self._recorded = Recorded()
        #: Images of which nobody knows any more that they were deleted: the ended Job of their
        #: build says that they are there, until a collection looks.
        self._forgotten_images: set[str] = set()
        self._epoch = -1
        self._asked: Counter[str] = Counter()
        self._left: dict[str, float] = defaultdict(lambda: BURST)
        self._at = 0.0

    def watch(self, author: Author) -> None:
        """Watch what a user asks for."""
        self.author = self.artifacts.author = self.holds.author = author
        author.pushed = self.holds.pushed

    def synced_index(self) -> int:
        """The head that was synced last, by the status branch; 0 if that is unknown."""
        return (self.author.index(self._head) or 0) if self.author is not None else 0

    def is_complete(self, key: str) -> bool:
        """Return whether the status branch says that a key is complete."""
        return key in self._recorded.complete

    def broken(self, text: str, cause: BaseException | None = None) -> None:
        self._world.note(f"VIOLATION {text}")
        if self.found is None:
            self.found = Violation(text)
            self.found.__cause__ = cause

    def check(self) -> None:
        """Raise the first violation, if there is one."""
        elapsed, self._at = self._world.loop.now - self._at, self._world.loop.now
        for name, count in self._asked.items():
            left = min(BURST, self._left[name] + PER_SECOND * elapsed) - count
            self._left[name] = left
            if left < 0:
                self.broken(f"replica {name} has sent {count} requests in {elapsed:.0f} s")
        self._asked.clear()
        for error in self._world.loop.errors:
            self.broken(f"an error that nobody took: {error}")
        if self.found is not None:
            raise self.found

    def forget(self) -> None:
        """The status branch was lost: what it said is unknown to whoever reads it now."""
        self._recorded, self.records, self._head = Recorded(), (), ""
        self._forgotten_images = set(self._world.cluster.images.deleted)
        self.holds.forget()

    def reread(self, files: dict[str, bytes]) -> None:
        """Somebody else has written the status branch."""
        self._recorded &= recorded(files)
        self.records = tuple(read_records(files))
        self.holds.forget()

    # -- requests ----------------------------------------------------------------------------

    def asked(self, process: Process, what: str) -> None:
        self._count(process)
        self._world.figures[f"git {what}"] += 1

    def called(self, process: Process, what: str) -> None:
        """Note a call to the bucket."""
        self._world.requested(process)
        self._world.figures[f"bucket {what}"] += 1

    def _count(self, process: Process) -> None:
        self._asked[process.name] += 1
        self._world.requested(process)

    def seen(
        self, process: Process, method: str, path: str, body: Any, answer: Answer | None
    ) -> None:
        """Check a request before it is answered, and note it afterwards."""
        if answer is None:
            if method != "GET" and "/leases" not in path:
                self._check(process, method, path, body)
            return
        self._count(process)
        self._world.figures[f"api {method}"] += 1
        if method == "POST" and path.endswith("/jobs") and answer.status == _CREATED:
            self.artifacts.created(body)
        if method != "GET":
            named = (body or {}).get("metadata", {}).get("name", "")
            self._world.note(f"{process.name} {method} {path} {named} {answer.status}")

    def _check(self, process: Process, method: str, path: str, body: Any) -> None:
        kind, name = (
            path.rsplit("/", 2)[-2:] if method != "POST" else (path.rsplit("/", maxsplit=1)[-1], "")
        )
        match method, kind:
            case "POST", "jobs":
                self._check_creation(process, body)
            case "DELETE", "jobs":
                self._check_deletion(process, name, body)
            case "POST", _:
                pass
            case _:
                self.broken(f"{method} {path} is no request of a daemon")

    def _check_creation(self, process: Process, job: Object) -> None:
        key, server = label(job, "key"), self._world.server
        name = job["metadata"]["name"]
        if ("jobs", job["metadata"]["namespace"], name) in server.objects:
            return  # it will be refused
        if not is_of_task(job):
            self.artifacts.ordered(process, job)
            return
        live = [each for each in server.of("jobs") if not over(each) and is_of_task(each)]
        names = {each["metadata"]["name"] for each in live}
        for pod in server.of("pods"):
            if not is_over(pod) and is_of_task(pod):
                names.add(pod["metadata"]["labels"][JOB_NAME])
                if label(pod, "key") == key:
                    self.broken(f"{name} is created while {pod['metadata']['name']} is there")
        self._check_key(job, live)
        if len(names) >= LIMIT:
            self.broken(f"{name} is created beside {sorted(names)}: the limit is {LIMIT}")
        if job["metadata"]["namespace"] == LAB:
            own = [each["metadata"]["name"] for each in live if is_of_lab(each)]
            if len(own) >= LIMIT_OF_LAB:
                self.broken(f"{name} is created beside {sorted(own)}: {LAB} has {LIMIT_OF_LAB}")
        self.holds.created(job)
        self.costs.created(job)

    def _check_key(self, job: Object, live: list[Object]) -> None:
        name, key = job["metadata"]["name"], label(job, "key")
        for each in live:
            if label(each, "key") == key:
                self.broken(f"{name} is created beside {each['metadata']['name']} of the same key")
        if (key, execution_hash(job)) in self._recorded.failed:
            self.broken(f"{name} is created, and its failure is recorded as final")
        # What was lost once may be there again, and what told so be gone: such a run ends at once.
        lost = output(job) in self._world.cluster.lost
        if not lost and key in self._recorded.complete and self._world.cluster.has(output(job)):
            self.broken(f"{name} is created, and its key {key} is recorded as complete")
        elif lost and self.artifacts.is_there_since(output(job), self._recorded.ends.get(key)):
            self.broken(f"{name} is created, and {key} was recorded after it was made again")
        hidden = self._world.bucket.is_hidden(output(job))
        if not lost and hidden and key in self._recorded.complete:
            self.broken(f"{name} is created, and its key {key} is hidden, not gone")

    def _check_deletion(self, process: Process, name: str, body: Any) -> None:
        uid = (body or {}).get("preconditions", {}).get("uid")
        found = next(
            (j for j in self._world.server.of("jobs") if j["metadata"]["name"] == name), None
        )
        if found is None:
            return
        if uid is None or label(found, "instance") != INSTANCE:
            self.broken(f"{name} is deleted, which may be somebody else's")
        if (
            uid != found["metadata"]["uid"]
            or over(found)
            or label(found, "task") in ("build", COLLECT)
        ):
            return
        self.holds.deleted(process, found)
        author, title = self.author, label(found, "name")
        lineage = lineage_of(found)
        index = author.index(lineage.get("commit", "")) if author is not None else None
        if author is None or index is None:
            return
        if not self.artifacts.is_of(found, author.heads[index]):
            return
        source = lineage.get("source", {}).get("commit", "")
        if not author.changed_since(title, index, source):
            self.broken(f"{name} is ended, and {title} asks for the same as when it was created")

    def made(self, pod: Object) -> None:
        """Note that a command has left an artifact."""
        self.artifacts.made(pod)
        self.costs.made(pod)

    def started(self, pod: Object) -> None:
        """Check the start of a command."""
        self._world.figures["commands started"] += 1
        image = self._world.cluster.image_of(pod)
        if self._world.cluster.images.lack(image) and image not in self._forgotten_images:
            self.broken(f"{pod['metadata']['name']} starts in an image that is gone")
        for other in self._world.cluster.running.values():
            if output(other) == output(pod):
                names = [each["metadata"]["name"] for each in (pod, other)]
                self.broken(f"two commands make {output(pod)}: {names}")

    # -- pushes ------------------------------------------------------------------------------

    def pushed(
        self, process: Process | None, name: str, ref: str, before: str | None, after: str
    ) -> None:
        """Check a push to the status branch."""
        world = self._world
        who = process.name if process is not None else "-"
        world.note(f"{who} pushed {after[:12]} to {ref}")
        if (name, ref) != (MANIFESTS, STATUS):
            self.broken(f"{who} has pushed to {ref} of {name}")
            return
        now = world.remotes.files(name, after)
        then = world.remotes.files(name, before) if before is not None else {}
        self._recorded = recorded(now)
        self.records, self.pushed_at = tuple(read_records(now)), world.loop.now
        commit = world.remotes.at(name)[after]
        assert isinstance(commit, pygit2.Commit)
        found = _EPOCH.search(commit.message)
        epoch = int(found[1]) if found is not None else -1
        if epoch < self._epoch:
            self.broken(f"a leader of epoch {epoch} has pushed after one of epoch {self._epoch}")
        self._epoch = epoch
        if FOREIGN_FILE in then and FOREIGN_FILE not in now:
            self.broken(f"{FOREIGN_FILE} is gone from the status branch")
        self._compare(then, now)

    def _compare(self, then: dict[str, bytes], now: dict[str, bytes]) -> None:
        records = read_status(now)
        sync, before = load_sync(now[SYNC_FILE]), read_own_sync(then.get(SYNC_FILE, b""))[0]
        used = before.releases if before is not None else ()
        self.costs.check(read_status(then), records)
        self.holds.recorded(used, records.values(), frozenset(sync.releases))
        head = self._head = sync.head
        index = self.author.index(head) if self.author is not None else None
        earlier = read_status(then)
        for ref, record in earlier.items():
            newer = records.get(ref)
            self.artifacts.check_gone(record, newer)
            if newer is None:
                if index is not None and self.author is not None:
                    heads = [h for h in self.author.heads if h.commit == head]
                    if all(each.of(ref.name) for each in heads):
                        self.broken(f"the status of {ref} is gone, and its manifest is there")
                continue
            artifact = record.artifact
            cluster = self._world.cluster
            if (
                artifact is not None
                and newer.artifact is None
                and cluster.has(artifact.url)
                and artifact.url not in cluster.lost
                and not any(url in cluster.lost for url in _lost_since(record, newer))
                and not (ref.name == PROMOTED and self._has_lost(earlier, records))
            ):
                self.broken(f"the artifact of {ref} is no more in its status")
        for ref, record in records.items():
            if record.artifact is not None:
                self.artifacts.check_served(ref.name, record.artifact.url, index)

    def _has_lost(
        self, then: Mapping[ObjectRef, ObjectStatus], now: Mapping[ObjectRef, ObjectStatus]
    ) -> bool:
        """Return whether the object that is promoted has lost an artifact between two pushes.

        What is promoted has no history of its own.
        """
        return any(
            url in self._world.cluster.lost
            for ref in then.keys() & now.keys()
            if ref.name == PROMOTED_FROM
            for url in _lost_since(then[ref], now[ref])
        )


def _lost_since(before: ObjectStatus, now: ObjectStatus) -> Iterator[str]:
    """Yield the artifacts that an object has lost between two pushes.

    One that it went back to, and that is gone, has taken the place of another first.
    """
    known = {(entry.key, entry.finished) for entry in before.history if entry.lost is not None}
    for entry in now.history:
        if entry.lost is not None and (entry.key, entry.finished) not in known:
            yield entry.artifact or ""
