"""The wall time of a set of runs. Pure.

It follows from their needs, and from the limits of runs at once.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from reconciler.types import TaskKey


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedTask:
    """A task to run: its key, needs, seconds and GPUs."""

    key: TaskKey
    needs: tuple[TaskKey, ...]
    seconds: float
    gpus: int = 0


def makespan(tasks: Iterable[TimedTask], *, runs: int = 0, gpus: int = 0) -> float:
    """Return the seconds until all tasks are complete.

    A limit of 0 is none.

    Each starts, in the given order, as soon as its needs among the tasks are complete and the
    limits admit it. One that asks for more GPUs than the limit never starts, nor what needs it.
    """
    waiting = {task.key: task for task in tasks}
    live: list[tuple[float, TaskKey, int]] = []
    now, used = 0.0, 0
    pending = dict(waiting)
    while pending or live:
        ready = [t for t in pending.values() if not any(need in waiting for need in t.needs)]
        for task in ready:
            full = (runs and len(live) >= runs) or (gpus and used + task.gpus > gpus)
            if not full or (not task.gpus and not (runs and len(live) >= runs)):
                heapq.heappush(live, (now + task.seconds, task.key, task.gpus))
                used += task.gpus
                del pending[task.key]
        if not live:
            break
        now, key, freed = heapq.heappop(live)
        used -= freed
        del waiting[key]
    return now
