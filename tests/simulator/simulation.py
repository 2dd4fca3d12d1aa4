"""A simulation: disturbances, then calm, and again."""

from __future__ import annotations

import gc
import shutil
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from reconciler.planner import RELEASE_FILE, ObjectStatus, Phase
from reconciler.reasons import ReasonCode
from reconciler.status import SYNC_FILE, read_own_sync
from tests.simulator.author import Author
from tests.simulator.disturbances import Disturbances
from tests.simulator.invariants import Violation
from tests.simulator.objects import is_of_task, is_over, over
from tests.simulator.ports import simulated
from tests.simulator.site import MAIN, MANIFESTS, SOURCE, STATUS, Variant
from tests.simulator.world import World

#: Steps between two calms.
ROUND = 500
#: Seconds after a step, by chance.
PAUSES = (0.0, 0.0, 0.01, 0.05, 0.3, 1.0, 5.0, 10.0)
#: Seconds within which a world that is left alone must come to rest.
PATIENCE = 4 * 3600.0
#: How often an artifact is lost in a calm, and what nothing else asks for.
AGAIN, FIRST_EPOCHS = 2, 100
_SETTLED = (Phase.READY, Phase.FAILED, Phase.INVALID, Phase.REJECTED)

Outcome = dict[str, tuple[str, str]]


@dataclass
class Report:
    """How a simulation ended."""

    seed: int
    steps: int
    trace: str
    figures: Counter[str]
    virtual: float
    violation: str | None = None
    lines: tuple[str, ...] = ()


def simulate(
    seed: int, steps: int, folder: Path, say: Callable[[str], None] | None = None
) -> Report:
    """Simulate some steps; the first violation ends it."""
    gc.collect()
    gc.disable()  # a seed leaves some 20 MB
    world = World(seed, folder, say, variant=Variant.of(seed))
    author = Author(world.remotes)
    world.invariants.watch(author)
    done, violation = 0, None
    with simulated(world):
        author.begin()
        chance = Random(f"{seed}/steps")
        disturbances = Disturbances(world, author, chance)
        try:
            while done < steps:
                for replica in world.replicas.values():
                    replica.start()
                for _ in range(min(ROUND, steps - done)):
                    done += 1
                    world.note(f"step {done}: {disturbances.step()}")
                    world.loop.advance(chance.choice(PAUSES))
                    world.invariants.check()
                _calm(world, author, disturbances, folder / f"calm-{done}")
        except Violation as error:
            cause = error.__cause__
            violation = "".join(traceback.format_exception(cause)) if cause else ""
            violation += str(error)
        finally:
            lines = tuple(world.lines)
            world.close()
            gc.enable()
    return Report(seed, done, world.trace, world.figures, world.loop.now, violation, lines)


def _calm(world: World, author: Author, disturbances: Disturbances, folder: Path) -> None:
    """Give everything back; the end must be that of a world in which nothing happened."""
    world.note("calm")
    disturbances.end_all()
    world.crash_at.clear()
    for link in world.links:
        link.heal()
    for replica in world.replicas.values():
        replica.skew, replica.full_disk = 0.0, False
        if replica.process is not None:
            replica.process.skew, replica.process.full_disk = 0.0, False
        replica.start()
    author.repository.end(f"calm-{world.loop.now:.0f}", len(author.heads))
    author.push("calm")
    author.end_releases()
    world.cluster.faults.clear()

    def release(holds: Iterator[str]) -> None:
        author.repository.release(holds, world.invariants.holds.lines)
        author.push("release")

    ours = _rest(world, release)
    for number in range(AGAIN):
        _lose_base(world, author, number)
        ours = _rest(world, release)
    theirs = _undisturbed(world, folder)
    if ours != theirs:
        different = [
            name
            for name in sorted(ours.keys() | theirs.keys())
            if ours.get(name) != theirs.get(name)
        ]
        told = [
            f"{name}: {ours.get(name)} is {theirs.get(name)} in an undisturbed world"
            for name in different
        ]
        world.invariants.broken("; ".join(told))
    world.figures["calms"] += 1
    world.invariants.check()


def _lose_base(world: World, author: Author, number: int) -> None:
    """Lose an artifact as something new is to be made from it.

    What makes it anew is the same each time, and needs to be released each time. A manifest is
    wrong the first time, so that nothing that is not needed any more may be hidden.
    """
    base = next(r for ref, r in world.statuses().items() if ref.name == "swept")
    author.set("bad", f"bad {number}", broken=None if number else 1)
    author.set("m7", f"again {number}", epochs=FIRST_EPOCHS + len(author.heads))
    if base.artifact is not None:
        world.cluster.lose(base.artifact.url)


def _rest(world: World, release: Callable[[Iterator[str]], None]) -> Outcome:
    """Let a world come to rest; returns each object's phase and the key of its artifact.

    What is held is released.
    """
    end = world.loop.now + PATIENCE
    before, same = None, 0
    while world.loop.now < end:
        world.loop.advance(30.0)
        world.invariants.check()
        if holds := list(world.invariants.holds.release()):
            release(iter(holds))
        now = _outcome(world)
        same = same + 1 if now is not None and now == before else 0
        before = now
        if now is not None and same >= 3:
            world.invariants.artifacts.check_rest()
            world.invariants.check()
            return now
    live = [job["metadata"]["name"] for job in world.server.of("jobs") if not over(job)]
    phases = {str(ref): f"{r.phase} {r.reason}" for ref, r in world.statuses().items()}
    world.invariants.broken(f"no rest after {PATIENCE:.0f} s: {live}, {phases}")
    world.invariants.check()
    return {}


def _outcome(world: World) -> Outcome | None:
    """The end of a world; None while something goes on."""
    if any(not over(job) and is_of_task(job) for job in world.server.of("jobs")):
        return None
    if any(not is_over(pod) and is_of_task(pod) for pod in world.server.of("pods")):
        return None
    tip = world.remotes.tip(MANIFESTS, STATUS)
    if tip is None:
        return None
    files = world.remotes.files(MANIFESTS, tip)
    sync = read_own_sync(files[SYNC_FILE])[0] if SYNC_FILE in files else None
    if sync is None or sync.head != world.remotes.tip(MANIFESTS, MAIN):
        return None
    found = world.statuses()
    if not all(_is_settled(record) for record in found.values()):
        return None
    return {str(ref): _end(record) for ref, record in found.items()}


def _is_settled(record: ObjectStatus) -> bool:
    return record.phase in _SETTLED or record.reason == ReasonCode.BASE_REJECTED.value


def _end(record: ObjectStatus) -> tuple[str, str]:
    """What a status says of the end, whatever there was before.

    What was accepted before a gate rejects is still served: that is no part of it.
    """
    if record.reason in (ReasonCode.STILL_SERVING.value, ReasonCode.BASE_REJECTED.value):
        return Phase.WAITING.value, ""
    ready = record.phase is Phase.READY and record.artifact is not None
    return record.phase.value, record.artifact.key if ready and record.artifact else ""


def _undisturbed(world: World, folder: Path) -> Outcome:
    """The end of a new world with the same commits, in which nothing happens."""
    folder.mkdir()
    for name in (MANIFESTS, SOURCE):
        shutil.copytree(world.folder / name, folder / name)
    fresh = World(f"{world.seed}/{folder.name}", folder, variant=world.variant)
    fresh.remotes.delete(MANIFESTS, STATUS)
    with simulated(fresh):
        fresh.replicas["one"].start()
        try:
            return _rest(fresh, lambda holds: _release(fresh, holds))
        finally:
            fresh.close()
            shutil.rmtree(folder)


def _release(world: World, holds: Iterator[str]) -> None:
    """Release holds in a world without an author."""
    tip = world.remotes.tip(MANIFESTS, MAIN)
    files = world.remotes.files(MANIFESTS, tip) if tip is not None else {}
    lines = files.get(RELEASE_FILE, b"") + "".join(f"{hold}\n" for hold in holds).encode()
    world.remotes.commit(MANIFESTS, MAIN, {**files, RELEASE_FILE: lines}, "release")
