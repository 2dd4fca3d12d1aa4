"""What must hold of costs: what a run took is priced, and what is priced is spent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from reconciler.planner import ObjectStatus
from reconciler.types import ObjectRef
from tests.simulator.api_server import Object
from tests.simulator.hold_invariants import gpus
from tests.simulator.objects import JOB_NAME, label

if TYPE_CHECKING:
    from tests.simulator.world import World

#: Times of runs are whole seconds.
_SECOND = 1.001
_CENT = 0.01


class Costs:
    """Watches the costs of one world, where a second of a GPU costs one."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._gpus: dict[str, int] = {}
        #: What the command of a key cost at least, by its end, until an object has paid it.
        self._least: dict[tuple[str, datetime], float] = {}

    def created(self, job: Object) -> None:
        """Note the GPUs of a run."""
        self._gpus[job["metadata"]["name"]] = gpus(job)

    def made(self, pod: Object) -> None:
        """Note that a command has left an artifact.

        Of a pod that was being deleted nothing is demanded: it may be gone, with the times that it
        knew, before a daemon looks.
        """
        if "deletionTimestamp" in pod["metadata"]:
            return
        [container] = pod["status"]["containerStatuses"]
        began = datetime.fromisoformat(container["state"]["running"]["startedAt"])
        end = datetime.fromisoformat(self._world.server.time())
        count = self._gpus.get(pod["metadata"]["labels"][JOB_NAME], 0)
        cost = count * ((end - began).total_seconds() - _SECOND)
        self._least[label(pod, "key"), end] = cost

    def check(
        self, then: Mapping[ObjectRef, ObjectStatus], now: Mapping[ObjectRef, ObjectStatus]
    ) -> None:
        """Check what a push adds to the costs."""
        for ref, record in now.items():
            before = then.get(ref)
            history = before.history if before is not None else ()
            known = {(entry.key, entry.finished, entry.phase) for entry in history}
            added = [e for e in record.history if (e.key, e.finished, e.phase) not in known]
            for entry in added:
                if entry.finished is not None:
                    self._check_entry(ref, entry.key, entry.finished, entry.cost or 0.0)
            costs = sum(entry.cost or 0.0 for entry in added)
            spent = _sum(record) - (_sum(before) if before is not None else 0.0)
            if spent < costs - _CENT:
                self._broken(f"{ref} has spent {spent:.2f} more, for runs that cost {costs:.2f}")

    def _check_entry(self, ref: ObjectRef, key: str, end: datetime, cost: float) -> None:
        """Check the first entry of a run: who gets its artifact later has it for nothing."""
        least = self._least.pop((key, end), None)
        if least is not None and cost < least:
            self._broken(f"{ref} has {cost} for {key}, which cost {least:.0f}")

    def _broken(self, text: str) -> None:
        self._world.invariants.broken(text)


def _sum(record: ObjectStatus) -> float:
    return sum(record.spent.values())
