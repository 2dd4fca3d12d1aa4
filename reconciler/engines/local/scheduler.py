"""Scheduling: slots and GPUs of this machine, first come first served.

A run that waits reserves the resource that it waits for, so a big run is never starved by small
ones; it reserves nothing else, so a run that waits for a GPU does not idle the cores.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from reconciler.engine import RunSpec
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import Resources, TaskKey

_DEADLINE = 20.0  # a driver in trouble hangs its tools
_DEVICE = re.compile(r"nvidia\d+")


@dataclass(frozen=True, slots=True)
class Machine:
    """Slots, and GPUs by the ids that CUDA_VISIBLE_DEVICES takes."""

    slots: int
    gpus: tuple[str, ...]

    def slots_for(self, resources: Resources) -> int:
        """Return a run's slots: each rank's cores, rounded up, at most all."""
        each = min(self.slots, max(1, math.ceil(resources.cpu or 1)))
        return min(self.slots, each * resources.nodes)


@dataclass(frozen=True, slots=True)
class ActiveRun:
    """A run that was admitted and has not ended."""

    key: TaskKey
    slots: int
    gpus: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Admitted:
    """A run that may start now, with these GPUs."""

    name: str
    gpus: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Queued:
    """A run that has to wait, and its reason."""

    name: str
    reason: Reason


def schedule(
    machine: Machine, active: Iterable[ActiveRun], waiting: Sequence[RunSpec]
) -> list[Admitted | Queued]:
    """Admit waiting runs in their order, as far as resources are free."""
    held = list(active)
    slots = machine.slots - sum(run.slots for run in held)
    taken = {gpu for run in held for gpu in run.gpus}
    gpus = [gpu for gpu in machine.gpus if gpu not in taken]
    keys = {run.key for run in held}
    decisions: list[Admitted | Queued] = []
    for spec in waiting:
        need, cards = machine.slots_for(spec.resources), spec.resources.gpus
        total = len(machine.gpus)
        if cards > total:
            reason = Reason.of(ReasonCode.INSUFFICIENT_GPUS, gpus=cards, available=total)
        elif spec.key in keys:
            reason = Reason.of(ReasonCode.WAITING_FOR_SAME_KEY)
        elif cards > len(gpus):
            reason = Reason.of(ReasonCode.WAITING_FOR_GPUS, need=cards, gpus=total)
            # Reserved, so that others do not take each one that becomes free.
            gpus = []
        elif need > slots:
            reason = Reason.of(ReasonCode.WAITING_FOR_SLOTS, need=need, slots=machine.slots)
            slots = 0
            gpus = gpus[cards:]
        else:
            decisions.append(Admitted(spec.name, tuple(gpus[:cards])))
            slots -= need
            gpus = gpus[cards:]
            keys.add(spec.key)
            continue
        decisions.append(Queued(spec.name, reason))
    return decisions


def find_gpus() -> tuple[str, ...]:
    """Return the machine's GPUs by their ids for CUDA_VISIBLE_DEVICES.

    Where the daemon has that variable set, the ids are those in it alone.
    """
    if (given := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        named = (gpu.strip() for gpu in given.split(","))
        # CUDA sees those before the first that is none; -1 is the usual way to hide them all.
        return tuple(gpu for gpu in takewhile(lambda gpu: not gpu.startswith("-"), named) if gpu)
    return tuple(str(number) for number in range(_count()))


def _count() -> int:
    if (tool := shutil.which("nvidia-smi")) is not None:
        try:
            done = subprocess.run(
                [tool, "-L"], capture_output=True, text=True, timeout=_DEADLINE, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return 0
        if done.returncode == 0:
            return sum(line.startswith("GPU ") for line in done.stdout.splitlines())
    return sum(_DEVICE.fullmatch(path.name) is not None for path in Path("/dev").iterdir())
