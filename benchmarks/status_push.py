"""A push of ten changed statuses of 10,000: its CPU, and the trees that it writes.

The statuses are updated in the store, written into a commit on the status branch, and pushed to a
repository of this machine. The baseline of the CPU pushes a commit of as many files in one folder,
with git, by hand. That of the trees is the folder which holds all files, were it not divided: Git
writes a folder anew, whole, when one file of it changes.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pygit2

from benchmarks.figures import Figure
from benchmarks.process import children_cpu_seconds
from benchmarks.repository import STATUS_REF, make, push_by_hand
from reconciler.daemon.status_store import StatusStore
from reconciler.planner.object_status import ObjectStatus
from reconciler.status import Sync
from reconciler.types import Commit, ObjectRef
from tests.e2e.site import git
from tests.git.copies import status_branch_at

_Records = Mapping[ObjectRef, ObjectStatus]

FILES, CHANGED = 10_000, 10
ROUNDS = 5
#: In a round.
PUSHES = 6


@dataclass(frozen=True, slots=True)
class Round:
    """Of each push: seconds of CPU, own, with git's and by hand; bytes of trees, flat ones too."""

    own: float
    cpu: float
    raw: float
    trees: float
    flat: float


def measure(files: int = FILES, rounds: int = ROUNDS) -> Iterator[Figure]:
    """Yield the figures of CPU and trees."""
    with tempfile.TemporaryDirectory() as name:
        found = asyncio.run(_measure(Path(name), files, rounds))
    of = f"status push, {CHANGED} of {files:,} changed"
    by_hand = f"a commit of {CHANGED} files and a push by hand"
    yield Figure(
        name="status.cpu",
        title=f"{of}: CPU of its own",
        baseline=by_hand,
        unit="s",
        rounds=[(each.own, each.raw) for each in found],
        aim_value=0.02,
    )
    yield Figure(
        name="status.cpu.git",
        title=f"{of}: CPU with git's",
        baseline=by_hand,
        unit="s",
        rounds=[(each.cpu, each.raw) for each in found],
    )
    yield Figure(
        name="status.trees",
        title=f"{of}: trees",
        baseline="one folder of all files",
        unit="KiB",
        rounds=[(each.trees / 1024, each.flat / 1024) for each in found],
        aim_value=64.0,
    )


async def _measure(folder: Path, files: int, rounds: int) -> list[Round]:
    make(folder / "repository", files)
    remote = folder / "repository" / ".git"
    branch = status_branch_at(
        folder / "status.git", remote.as_uri(), branch=STATUS_REF.removeprefix("refs/heads/")
    )
    store = StatusStore(branch, cluster="local", instance="default", path="")
    await store.load()
    if len(store.records) != files:
        raise SystemExit(f"{len(store.records)} of {files} statuses were read")
    await _push(store, 0, _changed(store, 0))  # divides the folder
    git(folder, "clone", "--quiet", "--bare", "--single-branch", str(remote), "clone.git")
    return [await _round(folder, store, 1 + PUSHES * number) for number in range(rounds)]


async def _round(folder: Path, store: StatusStore, first: int) -> Round:
    own = cpu = raw = trees = flat = 0.0
    for number in range(first, first + PUSHES):
        changed = _changed(store, number)
        before, gits = time.process_time(), children_cpu_seconds()
        await _push(store, number, changed)
        taken = time.process_time() - before
        own += taken
        cpu += taken + children_cpu_seconds() - gits
        raw += _by_hand(folder / "clone.git")
        held = pygit2.Repository(str(folder / "status.git"))
        trees += _new_trees(held)
        flat += sum(len(f"100644 {ref.name}.yaml") + 21 for ref in store.records)
    return Round(*(value / PUSHES for value in (own, cpu, raw, trees, flat)))


async def _push(store: StatusStore, number: int, changed: _Records) -> None:
    """Update statuses, and push them."""
    sync = Sync(
        cluster="local",
        instance="default",
        path="",
        head=Commit(f"{number:040x}"),
        observed=datetime.now(UTC).replace(microsecond=0),
    )
    store.update(changed, removed=(), sync=sync)
    await store.flush()


def _changed(store: StatusStore, number: int) -> _Records:
    """Return other statuses of objects from all over the folder."""
    refs = sorted(store.records)
    step = len(refs) // CHANGED
    chosen = [refs[(number + step * each) % len(refs)] for each in range(CHANGED)]
    return {ref: replace(store.records[ref], message=f"change {number}") for ref in chosen}


def _new_trees(held: pygit2.Repository) -> int:
    """Bytes of the trees of the tip that its parent has not got."""
    tip = held.references[STATUS_REF].peel(pygit2.Commit)
    return _size(held, tip.tree, tip.parents[0].tree)


def _size(held: pygit2.Repository, tree: pygit2.Tree, before: pygit2.Tree | None) -> int:
    size = len(tree.read_raw())
    for entry in tree:
        name = entry.name or ""
        known = before[name] if before is not None and name in before else None
        if isinstance(entry, pygit2.Tree) and (known is None or known.id != entry.id):
            size += _size(held, entry, known if isinstance(known, pygit2.Tree) else None)
    return size


def _by_hand(clone: Path) -> float:
    """Commit files into a folder and push them with git; return the CPU of both."""
    before, gits = time.process_time(), children_cpu_seconds()
    push_by_hand(
        clone,
        {f"{n}.yaml": f"{n} {time.time_ns()}\n".encode() * 50 for n in range(CHANGED)},
    )
    return time.process_time() - before + children_cpu_seconds() - gits
