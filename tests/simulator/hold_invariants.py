"""What must hold of limits: guards, the budget, and what a user has released."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from reconciler.planner import ObjectStatus, TaskPhase, month_of
from reconciler.reasons import ReasonCode
from reconciler.status import COLLECTION_FILE, read_collection
from tests.simulator.api_server import Object
from tests.simulator.cluster import JOB_NAME, is_over, label, lineage_of, over
from tests.simulator.loop import Process
from tests.simulator.manifests import Head, Recipe
from tests.simulator.site import BUDGET, GUARD_SECONDS, GUARD_TASKS, LIMIT_GPUS, MANIFESTS, STATUS

if TYPE_CHECKING:
    from tests.simulator.author import Author
    from tests.simulator.world import World

#: Seconds by which a daemon may know less of a run's time than its pod has had.
_SLACK = 60.0
_GPU = "nvidia.com/gpu"
#: What a guard may not count, as its key or its wish is not known yet.
_UNCOUNTED = ("m5", "m6", "m7")
_GOES_ON = (TaskPhase.RUNNING, TaskPhase.PENDING)


@dataclass(frozen=True)
class Recompute:
    """The artifacts that one push has asked for anew, of objects that have one."""

    index: int
    names: dict[Recipe, str]


class Holds:
    """Watches the limits of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.author: Author | None = None
        self._recomputes: list[Recompute] = []
        self._seen: set[Recipe] = set()
        #: The keys of tasks in holds that a user has released.
        self._released: set[str] = set()

    # -- users ---------------------------------------------------------------------------------

    def pushed(self, head: Head) -> None:
        """Note what a push asks for anew."""
        author = self.author
        made = {recipe: name for name in head.objects for recipe in head.recipes(name)[-1:]}
        new = {r: n for r, n in made.items() if r not in self._seen and n not in _UNCOUNTED}
        self._seen |= made.keys()
        if author is None or len(new) <= GUARD_TASKS:
            return
        have = {ref.name for ref, r in self._world.statuses().items() if r.artifact is not None}
        new = {r: n for r, n in new.items() if head.objects[n].title in have}
        if len(new) > GUARD_TASKS:
            self._recomputes.append(Recompute(len(author.heads) - 1, new))

    def forget(self) -> None:
        """The status branch was lost or damaged: there is less to guard than it seems."""
        self._recomputes.clear()

    def release(self) -> Iterator[str]:
        """Yield the ids of all holds, which a user releases now."""
        records = self._world.statuses().values()
        budget = any(record.reason == ReasonCode.HELD_BY_BUDGET.value for record in records)
        for record in records:
            # The budget's hold has also those that wait for something else just now.
            if record.hold is not None or budget:
                self._released |= set(_keys(record))
            if record.hold is not None:
                yield record.hold
        tip = self._world.remotes.tip(MANIFESTS, STATUS)
        files = self._world.remotes.files(MANIFESTS, tip) if tip is not None else {}
        report = read_collection(files.get(COLLECTION_FILE))
        for each in report.withheld if report is not None else ():
            if each.hold is not None:
                yield each.hold

    # -- requests ------------------------------------------------------------------------------

    def created(self, job: Object) -> None:
        """Check the creation of a run."""
        name, key = job["metadata"]["name"], label(job, "key")
        live = [each for each in self._world.server.of("jobs") if not over(each)]
        asked = sum(gpus(each) for each in (*live, job))
        if gpus(job) and asked > LIMIT_GPUS:
            self._broken(f"{name} is created, and all runs have {asked} GPUs of {LIMIT_GPUS}")
        if key not in self._released:
            self._check_budget(name, key)
            self._check_guard(job)

    def _check_budget(self, name: str, key: str) -> None:
        records = self._world.invariants.records
        month = month_of(self._world.loop.wall())
        spent = sum(record.spent.get(month, 0.0) for record in records)
        if spent < BUDGET:
            return
        for record in records:
            for task in record.tasks:
                if key in (task.key, task.run_key) and task.phase in _GOES_ON:
                    return
        self._broken(f"{name} is created, and {spent:.0f} of {BUDGET} is spent")

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

    def deleted(self, process: Process, job: Object) -> None:
        """Check the end of a live run, by a daemon whose clock is right."""
        lately = self._world.loop.now - self._world.clock_set_at < _SLACK
        if label(job, "key") in self._released or lately or process.skew < 0:
            return
        for pod in self._world.server.of("pods"):
            # A pod that waits for its command has cost no more than one that is made anew.
            began = _command_began(pod)
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


def gpus(job: Object) -> int:
    """The GPUs of a Job's containers."""
    found = job["spec"]["template"]["spec"]["containers"]
    return sum(int(each.get("resources", {}).get("limits", {}).get(_GPU, 0)) for each in found)


def _command_began(pod: Object) -> datetime | None:
    """Return when the command of a pod began, while it goes on."""
    for container in pod["status"].get("containerStatuses", ()):
        running = container["state"].get("running")
        if running is not None and not is_over(pod):
            return datetime.fromisoformat(running["startedAt"])
    return None
