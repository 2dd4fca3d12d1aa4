"""What must hold of artifacts: what is made from them, and what a collection takes.

The oracle knows what manifests ask for by what decides an artifact (:class:`Head`), and its key by
the Job that first made it. So it shares no code with the daemon's planner.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from reconciler.engines.local.artifact_places import HIDDEN_MARKER, ArtifactState
from reconciler.engines.local.marker import MARKER
from tests.simulator.api_server import Object
from tests.simulator.collection_jobs import expiry_of, orders_of, part_of
from tests.simulator.loop import EPOCH, Process
from tests.simulator.manifests import Head, Recipe
from tests.simulator.objects import label, lineage_of, output, over, params
from tests.simulator.site import DAYS, GRACE, KEEP

if TYPE_CHECKING:
    from reconciler.planner import ObjectStatus
    from tests.simulator.author import Author
    from tests.simulator.world import World

_REMOVING = ArtifactState.REMOVING.value
#: Seconds by which the times of one end may differ, and after which a daemon knows of a Job.
_CLOSE, _KNOWN = 10.0, 120.0
_ORDERED = 120.0  # a Job hides an artifact later than that is recorded


@dataclass(frozen=True)
class View:
    """The heads at a process's look at them."""

    head: Head
    releases: dict[str, Head]
    used: frozenset[str]


#: Seconds that a collection takes at most.
_SLACK = 20.0


class Artifacts:
    """Watches the artifacts of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.author: Author | None = None
        #: The key of an artifact, by what decides it.
        self._keys: dict[Recipe, str] = {}
        self._recipes: dict[str, Recipe] = {}
        #: The object of an artifact, and what it was made from, by its place.
        self._owners: dict[str, str] = {}
        self._inputs: dict[str, tuple[str, ...]] = {}
        #: The artifact of an evaluation, and its test.
        self._tests: dict[str, tuple[str, int]] = {}
        #: When an artifact was first and last made; the head that was synced when it first was.
        self._first: dict[str, float] = {}
        self._last: dict[str, float] = {}
        self._made: dict[str, float] = {}
        self._synced: dict[str, int] = {}
        self._measured: dict[str, dict[int, float]] = defaultdict(dict)
        self._hidden_at: dict[str, float] = {}
        self._least_skew: dict[str, float] = {}
        #: The most that a process's clock was ahead in its collection.
        self._most_skew: dict[str, float] = {}
        self._views: dict[str, View | None] = {}
        self._doubts: dict[str, str] = {}

    # -- what is made --------------------------------------------------------------------------

    def created(self, job: Object) -> None:
        """Learn of a new Job what it makes, and check what it is made from."""
        author, url = self.author, output(job).rstrip("/")
        if author is None or label(job, "task") == "build" or not url:
            return
        lineage, name = lineage_of(job), label(job, "name")
        index = author.index(lineage.get("commit", ""))
        given = [
            lineage[each]["url"].rstrip("/")
            for each in ("base", "dataset", "artifact")
            if each in lineage
        ]
        self._inputs[url] = tuple(given)
        hidden = [each for each in given if self._world.bucket.is_hidden(each)]
        if any(self._world.invariants.is_complete(_key(each)) for each in hidden):
            self._broken(f"{job['metadata']['name']} is created, and {hidden} are hidden")
        if index is None:
            return
        head = author.heads[index]
        found = head.of(name)
        own = found.name if found is not None else name
        self._owners.setdefault(url, own)
        self._learn(job, head, own, url)
        if lineage.get("task") != "evaluate" and "base" in lineage:
            self._check_accepted(lineage["base"]["url"].rstrip("/"), index, job["metadata"]["name"])

    def is_of(self, job: Object, head: Head) -> bool:
        """Return whether a Job is of what its object asks for at a head.

        One whose manifest is wrong, or whose base is missing, is in the last form that a daemon has
        read, which is not known here.
        """
        found, lineage = head.of(label(job, "name")), lineage_of(job)
        if found is None or found.name in head.wrong:
            return False
        given = params(job["spec"]["template"])
        if label(job, "task") == "evaluate":
            return bool(given.get("test") == found.test)
        if not found.asks(given):
            return False
        for kind, other in (
            ("base", found.pin or head.final(found.base)),
            ("dataset", head.final(found.dataset)),
        ):
            if kind in lineage and other is not None:
                key = self._keys.get(other, other)
                if key != lineage[kind]["key"] and "load" not in found.tasks:
                    return False
        return True

    def _learn(self, job: Object, head: Head, own: str, url: str) -> None:
        given = params(job["spec"]["template"])
        match label(job, "task"):
            case "evaluate":
                artifact = lineage_of(job)["artifact"]["url"].rstrip("/")
                self._tests[url] = (artifact, given["test"])
                return
            case "load":
                recipe = head.load(own)
            case _:
                recipe = head.training(own, given.get("lr", 0))
        if recipe is None or not self.is_of(job, head):
            return
        key = label(job, "key")
        if self._keys.setdefault(recipe, key) != key:
            self._broken(f"{recipe} has the key {key}, and had {self._keys[recipe]}")
        # An artifact that is asked for by its key may be the one that would be used without.
        if not head.objects[own].pin and self._recipes.setdefault(key, recipe) != recipe:
            self._broken(f"{key} is of {recipe}, and was of {self._recipes[key]}")

    def made(self, pod: Object) -> None:
        """Note that a command has left an artifact."""
        url, now = output(pod).rstrip("/"), self._world.loop.now
        self._last[url] = self._made[url] = now
        self._hidden_at.pop(url, None)
        if url not in self._first:
            self._first[url] = now
            self._synced[url] = self._world.invariants.synced_index()
        if url in self._tests:
            artifact, test = self._tests[url]
            self._measured[artifact][test] = self._world.bucket.metrics(url)["accuracy"]

    def is_there_since(self, url: str, recorded: datetime | None) -> bool:
        """Return whether an artifact is there, as it was when a run's end was recorded."""
        made = self._made.get(url.rstrip("/"))
        if made is None or recorded is None or not self._world.cluster.has(url):
            return False
        return _time(made).replace(microsecond=0) <= recorded

    def found(self, pod: Object) -> None:
        """Note a run whose artifact was there: to a daemon, it is made now."""
        self._last[output(pod).rstrip("/")] = self._world.loop.now

    def _check_accepted(self, url: str, index: int, what: str) -> None:
        """Check that some manifest's gate may have accepted an artifact by now."""
        author, owner = self.author, self._owners.get(url)
        if author is None or owner is None:
            return
        key, measured = _key(url), self._measured[url]
        own = self._world.cluster.measured.get(f"{url}/")
        first = min(self._synced.get(url, 0), index)
        if not any(h.passes(owner, key, own, measured) for h in author.heads[first : index + 1]):
            self._broken(
                f"{what} uses {url}, which no gate of {owner} has accepted ({own}, {measured})"
            )

    def check_served(self, title: str, url: str, index: int | None) -> None:
        """Check the artifact that a status says an object has."""
        if index is not None:
            self._check_accepted(url.rstrip("/"), index, f"the status of {title}")

    def check_rest(self) -> None:
        """Check that the artifacts of the statuses are there, at rest."""
        for ref, record in self._world.statuses().items():
            artifact = record.artifact
            lost = artifact is not None and artifact.url in self._world.cluster.lost
            if (
                artifact is not None
                and not lost
                and not self._world.bucket.is_complete(artifact.url)
            ):
                self._broken(f"{artifact.url} is not there, and the status of {ref} has it")

    # -- what a collection takes -------------------------------------------------------------

    def began(self, process: Process) -> None:
        """Note the begin of a collection."""
        self._views[process.name] = None
        self._most_skew[process.name] = process.skew
        self._doubts.pop(process.name, None)

    def failed(self, process: Process) -> None:
        """Note a call to the bucket without an answer."""
        if self._views.get(process.name, 0) is None:
            self._doubts[process.name] = "the bucket did not answer"

    def listed(self, process: Process) -> None:
        """Note a look at the heads."""
        author = self.author
        if author is not None:
            view = View(author.head, dict(author.releases), author.used)
            self._views[process.name] = view

    def clock_set(self) -> None:
        """Note the clocks of the replicas, by which ages and a grace time may be counted."""
        for replica in self._world.replicas.values():
            most = self._most_skew.get(replica.name, replica.skew)
            self._most_skew[replica.name] = max(most, replica.skew)
        least = min(0.0, *(replica.skew for replica in self._world.replicas.values()))
        for url in self._hidden_at:
            self._least_skew[url] = min(least, self._least_skew[url])

    def deleting(self, process: Process | None, url: str, name: str) -> None:
        """Check the deletion of a file of an artifact."""
        names = self._world.bucket.folders[url]
        match name:
            case _ if name == MARKER:
                if HIDDEN_MARKER not in names:
                    self._broken(f"{url} loses its marker, and is not hidden")
                if process is not None:
                    self._world.figures["artifacts hidden"] += 1
                    self._check_collected(process, url, "hidden")
                    self._hidden_at[url] = self._world.loop.now
                    self._least_skew[url] = 0.0
                    self.clock_set()
            case _ if name == HIDDEN_MARKER:
                if _REMOVING in names and MARKER not in names and process is not None:
                    self._world.figures["artifacts removed"] += 1
                    self._check_collected(process, url, "removed")
                    self._check_grace(url)
                elif MARKER in names:
                    self._world.figures["artifacts restored"] += 1
                    self.restored(url)
                else:
                    self._broken(f"{url} loses its hidden marker, and has no other")
            case _ if name == _REMOVING:
                if left := sorted(names.keys() - {_REMOVING}):
                    self._broken(f"{url} loses its last marker before {left}")
            case _:
                if MARKER in names or HIDDEN_MARKER in names:
                    self._broken(f"{url} loses {name}, and is not being removed: {sorted(names)}")

    def ordered(self, process: Process, job: Object) -> None:
        """Check the orders of a Job, which its daemon has decided on by now."""
        if expiry_of(job) == 0:
            return  # it lists, or tries whether there is a pod
        for kind, path in orders_of(job):
            url = f"{part_of(job)}/{path}"
            self._world.figures[f"orders to {kind}"] += 1
            if kind != "restore":
                self._check_collected(process, url, f"to be {kind}d by {job['metadata']['name']}")
            if kind == "remove":
                self._check_grace(url)

    def collected(self, url: str, state: str) -> None:
        """Note what a Job has done to an artifact."""
        self._world.figures[f"artifacts {state} by Jobs"] += 1
        if state == "hidden":
            self._hidden_at[url] = self._world.loop.now
            self._least_skew[url] = 0.0
            self.clock_set()
        elif state == "complete":
            self.restored(url)

    def restored(self, url: str) -> None:
        """Note that a hidden artifact is there again."""
        self._hidden_at.pop(url, None)
        self._last[url] = math.inf  # it counts as made now, by some clock

    def _check_collected(self, process: Process, url: str, how: str) -> None:
        view, author = self._views.get(process.name), self.author
        if author is None:
            return
        if view is None:
            self._broken(f"{url} is {how} without a look at the heads")
            return
        if process.name in self._doubts:
            self._broken(f"{url} is {how}, and {self._doubts[process.name]}")
        heads = [view.head] if view.head == author.head else []
        heads += [h for b, h in view.releases.items() if author.releases.get(b) == h]
        if not all(head.certain for head in heads):
            self._broken(f"{url} is {how}, and a manifest cannot be read")
        keys = dict.fromkeys(view.used & author.used, "another cluster uses it")
        for head in heads:
            asked = (self._keys.get(recipe, recipe) for recipe in head.wanted())
            keys |= dict.fromkeys(asked, f"{head.commit[:12]} asks for it")
        roots = {u: keys[_key(u)] for u in self._owners if _key(u) in keys}
        roots |= dict(self._recent(process))
        roots |= dict.fromkeys(self._read_by_runs(), "a run reads it")
        roots |= dict.fromkeys(self._current(), "a status has it")
        if url in (kept := self._closure(roots)):
            self._broken(f"{url} is {how}, and {kept[url]}")

    def _closure(self, roots: dict[str, str]) -> dict[str, str]:
        """What is kept with the roots: their inputs, and their evaluations."""
        kept, waiting = dict(roots), list(roots)
        for evaluation, (artifact, _) in self._tests.items():
            if artifact in kept and evaluation in self._last:
                kept.setdefault(evaluation, f"it is of {artifact}: {kept[artifact]}")
        while waiting:
            at = waiting.pop()
            for given in self._inputs.get(at, ()) if self._is_known(at) else ():
                if given not in kept:
                    kept[given] = f"{at} was made from it: {kept[at]}"
                    waiting.append(given)
        return kept

    def _is_known(self, url: str) -> bool:
        """Return whether an artifact is there, and a daemon knows of it."""
        recorded = self._world.invariants.is_complete(_key(url))
        return recorded and self._world.bucket.is_complete(url)

    def check_gone(self, before: ObjectStatus, now: ObjectStatus | None) -> None:
        """Check that no artifact is recorded as removed which is there, and was before."""
        known = {(entry.key, entry.finished) for entry in before.history if entry.gone}
        for entry in now.history if now is not None else ():
            url = (entry.artifact or "").rstrip("/")
            if not entry.gone or (entry.key, entry.finished) in known:
                continue
            there = self._world.bucket.is_hidden(url) or self._world.bucket.is_complete(url)
            if there and self._made.get(url, math.inf) < self._world.loop.now - _KNOWN:
                self._broken(f"{url} is recorded as removed, and is there")

    def _recent(self, process: Process) -> Iterator[tuple[str, str]]:
        """The artifacts that are certainly among the newest, or young by a process's clock."""
        by_owner = defaultdict[str, list[str]](list)
        now = _time(self._world.loop.now + self._most_skew.get(process.name, process.skew))
        for url, owner in self._owners.items():
            if url in self._first and url not in self._tests:
                by_owner[owner].append(url)
        for urls in by_owner.values():
            for url in urls:
                newer = sum(self._last[u] > self._first[url] - _CLOSE for u in urls if u != url)
                age = now - _time(self._first[url])
                recent = newer < KEEP or age < timedelta(days=DAYS)
                if recent and self._is_known(url):
                    yield url, f"it is {age} old, and {newer} are newer"

    def _read_by_runs(self) -> Iterator[str]:
        now = EPOCH + timedelta(seconds=self._world.loop.now - _KNOWN)
        for job in self._world.server.of("jobs"):
            if not over(job) and job["metadata"]["creationTimestamp"] < f"{now:%Y-%m-%dT%H:%M:%SZ}":
                yield from self._inputs.get(output(job).rstrip("/"), ())

    def _current(self) -> Iterator[str]:
        """The artifacts of statuses that nothing has overtaken."""
        author, invariants = self.author, self._world.invariants
        if author is None or invariants.synced_index() != author.index(author.head.commit):
            return
        for record in self._world.statuses().values():
            for found in (record.artifact, record.candidate):
                owner = self._owners.get(found.url.rstrip("/")) if found is not None else None
                ends = [
                    self._last[u]
                    for u, own in self._owners.items()
                    if own == owner and u in self._last
                ]
                if found is not None and max(ends, default=0.0) < invariants.pushed_at - _CLOSE:
                    yield found.url.rstrip("/")

    def _check_grace(self, url: str) -> None:
        hidden = self._hidden_at.get(url)
        # A collection that is under way goes by the time that it began with.
        lately = self._world.loop.now - self._world.clock_set_at < _SLACK
        if hidden is None or lately:
            return
        since = _time(hidden + self._least_skew[url])
        grace = GRACE - (_ORDERED if self._world.variant.mounted else 0.0)
        if self._world.loop.wall() - since < timedelta(seconds=grace):
            self._broken(f"{url} is removed within the grace time, hidden at {since}")

    def _broken(self, text: str) -> None:
        self._world.invariants.broken(text)


def _key(url: str) -> str:
    return url.rpartition("/")[2]


def _time(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)
