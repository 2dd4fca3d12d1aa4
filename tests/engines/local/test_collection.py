"""Collection: what nothing uses goes whole, and what something uses stays."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine import CollectedKind, RunPhase
from reconciler.engines.local import LocalEngine
from reconciler.engines.local.build import image_result
from reconciler.engines.local.collection import LocalCollection
from reconciler.engines.local.layout import RootLayout, path_of
from reconciler.engines.local.locks import FileLock
from reconciler.engines.local.use import in_use
from reconciler.engines.local.virtual_environments import stored_environments
from tests.engines.local.bench import Bench, script, until

KEEP = timedelta(days=7)
BUILT = {"pyproject.toml": '[project]\nname = "x"\ndependencies = []\n', "run.sh": script("true")}


def age(root: Path, *names: str) -> None:
    """Date the last use of these, or of all, before the limit."""
    for path in (root / "locks").glob("use-*"):
        if not names or path.name.removeprefix("use-") in names:
            then = time.time() - KEEP.total_seconds() - 60
            os.utime(path, (then, then))


def present(root: Path) -> tuple[set[str], set[str]]:
    """The complete images and environments."""
    stored = list(stored_environments(root))
    found = {kind: {s.path.name for s in stored if s.kind is kind} for kind in CollectedKind}
    return found[CollectedKind.IMAGE], found[CollectedKind.ENVIRONMENT]


async def build(bench: Bench, engine: LocalEngine, **files: str) -> Path:
    path = path_of(await bench.image(engine, BUILT | files))
    assert path is not None
    for name in list(engine.runs()):
        await engine.delete(name)
    await until(lambda: not engine.runs())
    return path


async def test_what_no_object_needs_is_removed_after_a_while(bench: Bench) -> None:
    async with bench.engine(keep=KEEP) as engine:
        image = await build(bench, engine)
        before = present(bench.root)
        assert list(await engine.collect(frozenset())) == []  # used just now
        age(bench.root)
        for needed in (image.name, image.as_uri()):
            assert list(await engine.collect({needed})) == []
        assert present(bench.root) == before
        collected = await engine.collect(frozenset())
    assert [(found.kind, found.name) for found in collected] == [
        (CollectedKind.IMAGE, image.name),
        (CollectedKind.ENVIRONMENT, *before[1]),
    ]
    assert all(found.freed > 0 for found in collected)
    assert all(datetime.now(UTC) - found.used > KEEP for found in collected)
    for folder in ("images", "envs", "trash"):
        assert list((bench.root / folder).iterdir()) == []
    assert list((bench.root / "locks").glob("*-*")) == []


async def test_an_environment_stays_while_one_image_needs_it(bench: Bench) -> None:
    async with bench.engine(keep=KEEP) as engine:
        needed, other = [await build(bench, engine, word=word) for word in ("one", "two")]
        images, environments = present(bench.root)
        assert (images, len(environments)) == ({needed.name, other.name}, 1)
        age(bench.root)
        await engine.collect({needed.name})
    assert present(bench.root) == ({needed.name}, environments)


async def test_without_an_age_nothing_is_collected(bench: Bench) -> None:
    async with bench.engine() as engine:
        await build(bench, engine)
        age(bench.root)
        assert await engine.collect(frozenset()) == ()


async def test_a_run_keeps_its_image_and_environment_before_it_starts_and_while_it_runs(
    bench: Bench,
) -> None:
    async with bench.engine(keep=KEEP, slots=1) as engine:
        image = await build(bench, engine, **{"run.sh": script(bench.wait)})
        before = present(bench.root)
        runs = [bench.spec(image.as_uri(), text) for text in ("running", "queued")]
        for spec in runs:
            await engine.create(spec)
        await until(lambda: engine.runs()[runs[0].name].phase is RunPhase.RUNNING)
        age(bench.root)
        assert list(await engine.collect(frozenset())) == []
        # Without the daemon's memory of its runs, the lock says that one is running.
        collector = LocalCollection(RootLayout(bench.root.resolve()), KEEP, stopped=lambda: False)
        assert await asyncio.to_thread(collector.collect, frozenset()) == []
        assert [stored.running for stored in stored_environments(bench.root)] == [True, True]
        bench.gate.touch()
        ended = [await bench.ended(engine, spec.name) for spec in runs]
    assert [run.phase for run in ended] == [RunPhase.SUCCEEDED] * 2
    assert present(bench.root) == before


async def test_what_is_used_between_the_look_and_the_lock_stays(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench.engine() as engine:
        await build(bench, engine)
    before = present(bench.root)
    layout = RootLayout(bench.root.resolve())
    age(bench.root)
    take = FileLock.take

    def used_first(path: Path, **options: Any) -> FileLock | None:
        if path.name.startswith("use-") and not options:
            with in_use(layout, path.name.removeprefix("use-")):
                pass
        return take(path, **options)

    monkeypatch.setattr(FileLock, "take", used_first)
    assert LocalCollection(layout, KEEP, stopped=lambda: False).collect(frozenset()) == []
    monkeypatch.undo()
    assert present(bench.root) == before


async def test_an_environment_that_is_being_made_stays(bench: Bench) -> None:
    layout = RootLayout(bench.root.resolve())
    layout.prepare()
    (layout.envs / "half").mkdir()
    os.utime(layout.envs / "half", (0, 0))
    collector = LocalCollection(layout, KEEP, stopped=lambda: False)
    maker = FileLock.take(layout.environment_lock("half"))
    assert maker is not None
    assert collector.collect(frozenset()) == []
    maker.release()
    # Left by a build that was killed, it goes.
    assert [found.name for found in collector.collect(frozenset())] == ["half"]
    assert list(layout.envs.iterdir()) == []


async def test_what_was_collected_is_built_again_when_it_is_needed(bench: Bench) -> None:
    source = bench.source(BUILT)
    async with bench.engine(keep=KEEP) as engine:
        first = bench.build_spec(source)
        image = (await bench.complete(engine, first)).result
        assert image is not None
        await engine.delete(first.name)
        age(bench.root)
        await until(lambda: first.name not in engine.runs())
        assert len(await engine.collect(frozenset())) == 2
        again = bench.build_spec(source, key=first.key, name="r-again")
        assert (await bench.complete(engine, again)).result == image
        used = await bench.complete(engine, bench.spec(image.image or ""))
        assert used.phase is RunPhase.SUCCEEDED, used.reason


#: Collects, and is killed at the call of this number that changes the disk: in the trash, or not.
_KILLED = """
import os, pathlib, shutil, signal, sys
from datetime import timedelta
from reconciler.engines.local.collection import LocalCollection
from reconciler.engines.local.layout import RootLayout
trash, left = sys.argv[2] == "trash", int(sys.argv[3])
def counted(function):
    def call(*arguments, **keywords):
        global left
        left -= ("dir_fd" in keywords or "/trash/" in str(arguments[0])) is trash
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **keywords)
    return call
for owner, names in ((os, ("chmod", "rename", "replace", "unlink", "rmdir")),):
    for name in names:
        setattr(owner, name, counted(getattr(owner, name)))
layout = RootLayout(pathlib.Path(sys.argv[1]))
LocalCollection(layout, timedelta(days=7), lambda: False).collect(set())
"""


@pytest.mark.parametrize(
    ("place", "calls"), [*(("root", n) for n in range(9)), ("trash", 0), ("trash", 3)]
)
async def test_a_collection_that_is_killed_leaves_nothing_half_removed(
    bench: Bench, place: str, calls: int
) -> None:
    source = bench.source(BUILT)
    async with bench.engine() as engine:
        image = await bench.complete(engine, bench.build_spec(source))
        assert image.result is not None
        whole = {path.relative_to(bench.root) for path in bench.root.glob("envs/*/**/*")}
        await engine.delete(image.name)
        await until(lambda: not engine.runs())
    layout = RootLayout(bench.root.resolve())
    age(bench.root)
    killed = [sys.executable, "-c", _KILLED, str(layout.root), place, str(calls)]
    done = await asyncio.to_thread(subprocess.run, killed, check=False)
    assert done.returncode == -signal.SIGKILL
    for stored in stored_environments(bench.root):
        if stored.kind is CollectedKind.ENVIRONMENT:
            now = {path.relative_to(bench.root) for path in stored.path.rglob("*")}
            assert now == {path for path in whole if path.parts[1] == stored.path.name}
        else:
            assert json.loads((stored.path / "image.json").read_text())["key"] == image.key
            assert image_result(layout.image(image.key)) == image.result
    async with bench.engine(keep=KEEP) as engine:
        assert list(layout.trash.iterdir()) == []
        await engine.collect(frozenset())
        assert list(layout.images.iterdir()) == list(layout.envs.iterdir()) == []
        again = await bench.complete(engine, bench.build_spec(source, name="r-again"))
        assert again.phase is RunPhase.SUCCEEDED, again.reason
