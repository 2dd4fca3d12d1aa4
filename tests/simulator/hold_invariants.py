"""What must hold of limits: guards, the budget, and what a user has released."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from reconciler.planner import ObjectStatus, TaskPhase, month_of
from reconciler.reasons import ReasonCode
from reconciler.status import COLLECTION_FILE, read_collection
from reconciler.types import ObjectRef
from tests.simulator.api_server import Object
from tests.simulator.loop import Process
from tests.simulator.manifests import Head, Recipe
from tests.simulator.objects import JOB_NAME, is_over, label, lineage_of, over
from tests.simulator.site import (
    BUDGET,
    BUDGET_OF_LAB,
    GUARD_SECONDS,
    GUARD_TASKS,
    LAB,
    LIMIT_GPUS,
    MANIFESTS,
    STATUS,
)

if TYPE_CHECKING:
    from tests.simulator.author import Author
    from tests.simulator.world import World

#: Seconds by which a daemon may know less of a run's time than its pod has had.
_SLACK = 20.0
_GPU = "nvidia.com/gpu"
#: Seconds after which a user takes a line away that has released nothing.
_TIDY = 300.0
#: What a guard may not count, as its key or its wish is not known yet.
_UNCOUNTED = ("m5", "m6", "m7")
_GOES_ON = (TaskPhase.RUNNING, TaskPhase.PENDING)
#: Reasons of a task that is to get its run later.
_NOT_BEGUN = ("WaitingFor", "FailedRunCleared", "PendingRunReplaced", "RunLimit", "GpuLimit")


@dataclass(frozen=True)
class Recompute:
    """The artifacts that one push has asked for anew, of objects that have one."""

    index: int
    names: dict[Recipe, str]


@dataclass(frozen=True)
class Released:
    """What a line in the release file lets be made, and which live runs it lets be ended."""

    tasks: frozenset[str] | set[str] = frozenset()
    ends: frozenset[str] | set[str] = frozenset()
    at: float = 0.0


class Holds:
    """Watches the limits of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.author: Author | None = None
        self._recomputes: list[Recompute] = []
        #: The same of pushes that ask for GPUs, whether their objects have artifacts or not.
        self._wide: list[Recompute] = []
        self._seen: set[Recipe] = set()
        self._lines: dict[str, Released] = {}
        #: The lines that have released, and what they still let be done.
        self._used: frozenset[str] = frozenset()
        self._tasks: set[str] = set()
        self._ends: set[str] = set()
        #: What objects were last recorded with, by a daemon.
        self._recorded: dict[ObjectRef, frozenset[str]] = {}
        #: When a status was pushed first after the branch was last lost or damaged.
        self._known_since = -math.inf

    # -- users ---------------------------------------------------------------------------------

    def pushed(self, head: Head) -> None:
        """Note what a push asks for anew."""
        author = self.author
        made = {recipe: name for name in head.objects for recipe in head.recipes(name)[-1:]}
        new = {r: n for r, n in made.items() if r not in self._seen and n not in _UNCOUNTED}
        self._seen |= made.keys()
        if author is not None:
            wide = {r: n for r, n in new.items() if head.objects[n].gpus}
            self._wide.append(Recompute(len(author.heads) - 1, wide))
        if author is None or len(new) <= GUARD_TASKS:
            return
        have = {ref.name for ref, r in self._world.statuses().items() if r.artifact is not None}
        new = {r: n for r, n in new.items() if head.objects[n].title in have}
        if len(new) > GUARD_TASKS:
            self._recomputes.append(Recompute(len(author.heads) - 1, new))

    def forget(self) -> None:
        """The status branch was lost or damaged: there is less to guard than it seems."""
        self._recomputes.clear()
        self._wide.clear()
        self._known_since = math.inf

    def release(self) -> Iterator[str]:
        """Yield the ids of all holds, which a user releases now."""
        statuses = self._world.statuses()
        records = statuses.values()
        budget = any(record.reason == ReasonCode.HELD_BY_BUDGET.value for record in records)
        running = any(record.reason == ReasonCode.HELD_BY_RUNNING.value for record in records)
        # A hold also has objects that wait for another one, or for something else just now.
        held = [record for record in records if record.hold is not None]
        tasks = {key for record in (records if budget else held) for key in _keys(record)}
        # An object whose status is damaged just now is held with the others.
        tasks.update(*(keys for ref, keys in self._recorded.items() if ref not in statuses))
        ends = {key for record in held for key in _keys(record)} if running else set[str]()
        for record in held:
            assert record.hold is not None
            known = self._lines.get(record.hold, Released())
            at = self._world.loop.now
            self._lines[record.hold] = Released(known.tasks | tasks, known.ends | ends, at)
            yield record.hold
        tip = self._world.remotes.tip(MANIFESTS, STATUS)
        files = self._world.remotes.files(MANIFESTS, tip) if tip is not None else {}
        report = read_collection(files.get(COLLECTION_FILE))
        for each in report.withheld if report is not None else ():
            if each.hold is not None:
                self._lines[each.hold] = Released(at=self._world.loop.now)
                yield each.hold

    @property
    def lines(self) -> frozenset[str]:
        """The lines that have released, or may as soon as another hold is released too."""
        since = self._world.loop.now - _TIDY
        return self._used.union(line for line, found in self._lines.items() if found.at > since)

    def recorded(
        self, used: Collection[str], records: Collection[ObjectStatus], now: frozenset[str]
    ) -> None:
        """Note a push: the lines that are used by it, and what its records ask for.

        What a line has let be made needs another once it is made, or nothing asks for it.
        """
        self._known_since = min(self._known_since, self._world.loop.now)
        for line in now - set(used):
            found = self._lines.get(line, Released())
            self._tasks |= found.tasks
            self._ends |= found.ends
        self._used = now
        self._recorded |= {record.ref: frozenset(_keys(record)) for record in records}
        asked = {key for record in records for key in _keys(record)}
        self._tasks = {k for k in self._tasks & asked if not self._world.invariants.is_complete(k)}

    def _is_released(self, job: Object) -> bool:
        """Return whether a user has released the task of a Job, as of its commit."""
        key = label(job, "key")
        lines = (self._lines[line].tasks for line in self._unused(job))
        return key in self._tasks or any(key in tasks for tasks in lines)

    def _unused(self, job: Object | None = None) -> Iterator[str]:
        """Yield the lines that stand there and may still release, as of a Job's commit."""
        author = self.author
        if author is None:
            return
        index = author.index(str(lineage_of(job).get("commit", ""))) if job is not None else None
        head = author.heads[index] if index is not None else author.head
        for line in head.released:
            if line in self._lines and line not in self._used:
                yield line

    # -- requests ------------------------------------------------------------------------------

    def created(self, job: Object) -> None:
        """Check the creation of a run."""
        name, key = job["metadata"]["name"], label(job, "key")
        live = [each for each in self._world.server.of("jobs") if not over(each)]
        asked = sum(gpus(each) for each in (*live, job))
        if gpus(job) and asked > LIMIT_GPUS:
            self._broken(f"{name} is created, and all runs have {asked} GPUs of {LIMIT_GPUS}")
        self._ends.discard(key)
        if not self._is_released(job):
            self._check_budgets(job)
            self._check_guard(job)
            self._check_guard_of_gpus(job)

    def _check_budgets(self, job: Object) -> None:
        """Check the budget of the tenant, and that of all."""
        records = self._world.invariants.records
        for task in (task for record in records for task in record.tasks):
            own = task.key == label(job, "key") and task.run_key in (None, task.key)
            if own and task.phase in _GOES_ON and not task.reason.startswith(_NOT_BEGUN):
                return
        if is_of_lab(job):
            self._check_budget(job, BUDGET_OF_LAB, lambda namespace: namespace == LAB)
        self._check_budget(job, BUDGET, lambda _: True)

    def _check_budget(self, job: Object, budget: float, of: Callable[[str], bool]) -> None:
        records = (r for r in self._world.invariants.records if of(r.ref.namespace))
        month = month_of(self._world.loop.wall())
        spent = sum(record.spent.get(month, 0.0) for record in records)
        known = self._world.loop.now - self._known_since > _SLACK
        running = sum(cost for at, cost in self._costs() if of(at)) if known else 0.0
        if spent + running >= budget:
            name = job["metadata"]["name"]
            self._broken(f"{name} is created, and {spent:.0f} + {running:.0f} of {budget} is spent")

    def _costs(self) -> Iterator[tuple[str, float]]:
        """Yield each run's namespace, and what it has cost so far as a daemon must know it."""
        running = self._world.cluster.running.values()
        pods = {pod["metadata"]["labels"][JOB_NAME]: pod for pod in running}
        for job in self._world.server.of("jobs"):
            pod = pods.get(job["metadata"]["name"])
            began = command_began(pod) if pod is not None and gpus(job) else None
            if began is not None and not over(job):
                elapsed = (self._world.loop.wall() - began).total_seconds()
                yield job["metadata"]["namespace"], gpus(job) * max(0.0, elapsed - _SLACK)

    def _check_guard(self, job: Object) -> None:
        author = self.author
        index = author.index(str(lineage_of(job).get("commit", ""))) if author is not None else None
        if author is None or index is None or label(job, "task") not in ("load", "train"):
            return
        title, what = label(job, "name"), job["metadata"]["name"]
        for each in self._recomputes:
            heads = author.heads[each.index : index + 1]
            left = [n for r, n in each.names.items() if all(_asks(h, n, r) for h in heads)]
            if (
                heads
                and len(left) > GUARD_TASKS
                and any(heads[-1].objects[n].title == title for n in left)
            ):
                made = f"one of {len(left)} that {heads[0].commit[:12]} makes anew"
                self._broken(f"{what} is created, {made}")

    def _check_guard_of_gpus(self, job: Object) -> None:
        """Check that no run has GPUs of a push that asks for more of them at once."""
        author, most = self.author, self._world.variant.guard_gpus
        index = author.index(str(lineage_of(job).get("commit", ""))) if author is not None else None
        if author is None or index is None or not gpus(job):
            return
        for each in self._wide:
            heads = author.heads[each.index : index + 1]
            left = [n for r, n in each.names.items() if all(_asks(h, n, r) for h in heads)]
            asked = min((sum(h.objects[n].gpus for n in left) for h in heads), default=0)
            titles = {heads[-1].objects[n].title for n in left} if heads else set()
            if asked > most and label(job, "name") in titles:
                what = f"{asked} GPUs that {heads[0].commit[:12]} asks for: the guard is {most}"
                self._broken(f"{job['metadata']['name']} is created with some of {what}")

    def deleted(self, process: Process, job: Object) -> None:
        """Check the end of a live run, by a daemon whose clock is right."""
        lately = self._world.loop.now - self._world.clock_set_at < _SLACK
        key = label(job, "key")
        freed = key in self._ends or any(key in self._lines[e].ends for e in self._unused())
        if freed or lately or process.skew < 0:
            return
        for pod in self._world.server.of("pods"):
            # A pod that waits for its command has cost no more than one that is made anew.
            began = command_began(pod)
            if pod["metadata"]["labels"][JOB_NAME] == job["metadata"]["name"] and began is not None:
                elapsed = (self._world.loop.wall() - began).total_seconds()
                if elapsed > GUARD_SECONDS + _SLACK:
                    self._broken(
                        f"{process.name} ends {job['metadata']['name']} after {elapsed:.0f} s"
                    )

    def _broken(self, text: str) -> None:
        self._world.invariants.broken(text)


def _asks(head: Head, name: str, recipe: Recipe) -> bool:
    each = head.objects.get(name)
    return each is not None and not each.suspend and head.final(name) == recipe


def _keys(record: ObjectStatus) -> Iterator[str]:
    for task in record.tasks:
        yield from (key for key in (task.key, task.run_key) if key is not None)
    yield from (variant.key for variant in record.variants)


def is_of_lab(job: Object) -> bool:
    return bool(job["metadata"]["namespace"] == LAB)


def gpus(job: Object) -> int:
    """The GPUs of a Job's containers."""
    found = job["spec"]["template"]["spec"]["containers"]
    return sum(int(each.get("resources", {}).get("limits", {}).get(_GPU, 0)) for each in found)


def command_began(pod: Object) -> datetime | None:
    """Return when the command of a pod began, while it goes on."""
    for container in pod["status"].get("containerStatuses", ()):
        running = container["state"].get("running")
        if running is not None and not is_over(pod):
            return datetime.fromisoformat(running["startedAt"])
    return None
