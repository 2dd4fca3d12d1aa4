"""Which runs may start: cpu slots and GPUs, first come first served. Pure.

A run that waits keeps what it waits for from those behind it, so a big one is never starved by
small ones; it keeps no more than that, so a run that waits for a GPU does not idle the cores.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reconciler.engine import RunSpec
from reconciler.types import Resources, TaskKey


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is to grant. GPUs by the ids that CUDA_VISIBLE_DEVICES takes."""

    slots: int
    gpus: tuple[str, ...]

    def slots_for(self, resources: Resources) -> int:
        """The slots of a run: cores rounded up, of each rank, and never more than there are."""
        each = min(self.slots, max(1, math.ceil(resources.cpu or 1)))
        return min(self.slots, each * resources.nodes)


@dataclass(frozen=True, slots=True)
class Holding:
    """A run that has its grant and has not ended."""

    key: TaskKey
    slots: int
    gpus: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Granted:
    """A run that may start now, with these GPUs."""

    name: str
    gpus: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Denied:
    """A run that may not, and the sentence that says what it waits for."""

    name: str
    reason: str


def decide(
    machine: Machine, holding: Iterable[Holding], waiting: Sequence[RunSpec]
) -> list[Granted | Denied]:
    """Grant what is free to the runs that wait, in their order."""
    held = list(holding)
    slots = machine.slots - sum(run.slots for run in held)
    taken = {gpu for run in held for gpu in run.gpus}
    gpus = [gpu for gpu in machine.gpus if gpu not in taken]
    keys = {run.key for run in held}
    decisions: list[Granted | Denied] = []
    for spec in waiting:
        need, cards = machine.slots_for(spec.resources), spec.resources.gpus
        if cards > len(machine.gpus):
            reason = f"waiting for {cards} GPUs; this machine has {len(machine.gpus)}"
        elif spec.key in keys:
            reason = "waiting for another run of the same key to end"
        elif cards > len(gpus):
            reason = f"waiting for {cards} of {len(machine.gpus)} GPUs"
            # Kept for it, so that others do not take each one that becomes free.
            gpus = []
        elif need > slots:
            reason = f"waiting for {need} of {machine.slots} cpu slots"
            slots = 0
            gpus = gpus[cards:]
        else:
            decisions.append(Granted(spec.name, tuple(gpus[:cards])))
            slots -= need
            gpus = gpus[cards:]
            keys.add(spec.key)
            continue
        decisions.append(Denied(spec.name, reason))
    return decisions
