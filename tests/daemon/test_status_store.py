"""Pushes of the status: one at a time, and each told of once, however a daemon ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from reconciler.daemon.status_store import StatusStore
from reconciler.git.status_branch import StatusBranch
from reconciler.planner.names import removed_path, sharded_path, status_path
from reconciler.planner.object_status import ArtifactStatus, ObjectStatus
from reconciler.planner.phases import Phase
from reconciler.status.encoding import Sync
from reconciler.types import Commit, Kind, ObjectRef, TaskKey
from tests.e2e.site import git
from tests.git.copies import STATUS, status_branch_at
from tests.git.history import History
from tests.git.remotes import make_bare
from tests.git.test_damage import lose_file

REF = ObjectRef(Kind.MODEL, "default", "a")
SYNC = Sync(
    cluster="local",
    instance="default",
    path="",
    head=Commit("c" * 40),
    observed=datetime(2026, 1, 1, tzinfo=UTC),
)


class HeldUp(StatusBranch):
    """The first push waits until it is let go; it is counted how many are under way at once."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.begun, self.go = threading.Event(), threading.Event()
        self.under_way = self.most = 0

    def push(self, *args: Any, **named: Any) -> Commit | None:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        self.begun.set()
        self.go.wait()
        try:
            return super().push(*args, **named)
        finally:
            self.under_way -= 1


async def test_one_that_is_cancelled_ends_before_the_next_begins(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    branch = HeldUp(tmp_path / "status.git", (tmp_path / "remote.git").as_uri(), **STATUS)
    told: list[Mapping[ObjectRef, ObjectStatus]] = []
    store = StatusStore(
        branch,
        cluster="local",
        instance="default",
        path="",
        recorded=lambda _, after: told.append(after),
    )
    await store.load()
    store.update({REF: ObjectStatus(ref=REF, phase=Phase.READY)}, removed=(), sync=SYNC)
    first = asyncio.create_task(store.flush())
    await asyncio.to_thread(branch.begun.wait)
    first.cancel()
    last = asyncio.create_task(store.flush())
    for _ in range(10):
        await asyncio.sleep(0)
    branch.go.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    await last
    assert branch.most == 1
    assert [dict(after) for after in told] == [{REF: ObjectStatus(ref=REF, phase=Phase.READY)}]
    assert "phase: Ready" in git(tmp_path / "remote.git", "show", "status:default/models/a.yaml")


async def test_an_object_that_comes_back_during_a_push_has_its_artifact(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    branch = HeldUp(tmp_path / "status.git", (tmp_path / "remote.git").as_uri(), **STATUS)
    branch.go.set()

    def store_of(branch: StatusBranch) -> StatusStore:
        return StatusStore(branch, cluster="local", instance="default", path="")

    artifact = ArtifactStatus(key=TaskKey("a" * 40), url="file:///a")
    earlier = store_of(branch)
    await earlier.load()
    record = ObjectStatus(ref=REF, phase=Phase.READY, artifact=artifact)
    earlier.update({REF: record}, removed=(), sync=SYNC)
    earlier.update({}, removed={REF}, sync=SYNC)
    await earlier.flush()

    store = store_of(branch)
    await store.load()
    assert not store.records
    branch.go.clear()
    branch.begun.clear()
    other = ObjectRef(Kind.MODEL, "default", "b")
    store.update({other: ObjectStatus(ref=other, phase=Phase.READY)}, removed=(), sync=SYNC)
    flush = asyncio.create_task(store.flush())
    await asyncio.to_thread(branch.begun.wait)
    try:
        with mock.patch.object(StatusBranch, "read", side_effect=AssertionError("a push has it")):
            store.update({REF: ObjectStatus(ref=REF, phase=Phase.PENDING)}, removed=(), sync=SYNC)
    finally:
        branch.go.set()
    await flush
    await store.flush()
    assert store.records[REF].artifact == artifact
    files = git(tmp_path / "remote.git", "ls-tree", "-r", "--name-only", "status").split()
    assert files == ["README.md", "default/models/a.yaml", "default/models/b.yaml", "sync.yaml"]


async def test_what_is_known_goes_back_onto_a_branch_that_was_begun_anew(tmp_path: Path) -> None:
    history = History(make_bare(tmp_path, "remote.git"))
    branch = status_branch_at(tmp_path / "status.git", history.url)
    store = StatusStore(branch, cluster="local", instance="default", path="")
    await store.load()
    store.update({REF: ObjectStatus(ref=REF, phase=Phase.READY)}, removed=(), sync=SYNC)
    await store.flush()
    history.commit({"z": "anew"}, branch="status", orphan=True)
    other = ObjectRef(Kind.MODEL, "default", "b")
    store.update({other: ObjectStatus(ref=other, phase=Phase.FAILED)}, removed=(), sync=SYNC)
    await store.flush()
    files = git(history.path, "ls-tree", "-r", "--name-only", "status").split()
    assert files == [
        "README.md", "default/models/a.yaml", "default/models/b.yaml", "sync.yaml", "z"
    ]  # fmt: skip


async def test_a_daemon_without_news_writes_that_it_is_there_once_an_hour(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    branch = StatusBranch(tmp_path / "status.git", (tmp_path / "remote.git").as_uri(), **STATUS)
    store = StatusStore(branch, cluster="local", instance="default", path="")
    await store.load()
    store.update({}, removed=(), sync=SYNC)
    await store.flush()
    store.beat(SYNC.observed + timedelta(minutes=59))
    assert not store.dirty
    store.beat(SYNC.observed + timedelta(minutes=60, milliseconds=1))
    assert store.dirty
    await store.flush()
    assert not store.dirty
    assert "2026-01-01 01:00" in git(tmp_path / "remote.git", "show", "status:README.md")


async def test_a_clock_that_is_set_back_does_not_silence_the_daemon(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    branch = StatusBranch(tmp_path / "status.git", (tmp_path / "remote.git").as_uri(), **STATUS)
    store = StatusStore(branch, cluster="local", instance="default", path="")
    await store.load()
    ahead = replace(SYNC, observed=SYNC.observed + timedelta(days=3650))
    store.update({}, removed=(), sync=ahead)
    await store.flush()
    store.beat(ahead.observed - timedelta(seconds=30))
    assert not store.dirty
    store.beat(SYNC.observed)
    assert store.dirty
    await store.flush()
    assert "2026-01-01 00:00" in git(tmp_path / "remote.git", "show", "status:README.md")


async def test_a_folder_that_becomes_large_is_divided_into_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = "reconciler.status.shards.MOST_FILES"
    monkeypatch.setattr(most, 3)
    remote = make_bare(tmp_path / "remote.git")
    refs = [ObjectRef(Kind.MODEL, "default", name) for name in "abcd"]

    def files() -> list[str]:
        return git(remote, "ls-tree", "-r", "--name-only", "status").split()

    async def begin() -> StatusStore:
        branch = status_branch_at(tmp_path / "status.git", remote.as_uri())
        store = StatusStore(branch, cluster="local", instance="default", path="")
        await store.load()
        return store

    async def put(store: StatusStore, refs: list[ObjectRef], phase: Phase) -> None:
        records = {ref: ObjectStatus(ref=ref, phase=phase) for ref in refs}
        store.update(records, removed=(), sync=SYNC)
        await store.flush()

    store = await begin()
    await put(store, refs[:3], Phase.PENDING)
    assert [path for path in files() if "/" in path] == [
        f"default/models/{name}.yaml" for name in "abc"
    ]
    await put(store, refs[3:], Phase.PENDING)
    divided = sorted(sharded_path(status_path(ref)) for ref in refs)
    assert sorted(path for path in files() if "/" in path) == divided
    assert f"({divided[0]})" in git(remote, "show", "status:README.md")

    store = await begin()
    assert set(store.records) == set(refs)
    await put(store, refs[:1], Phase.READY)
    store.update({}, removed=refs[1:3], sync=SYNC)
    await store.flush()
    kept = [sharded_path(status_path(ref)) for ref in (refs[0], refs[3])]
    gone = [removed_path(ref) for ref in refs[1:3]]
    assert sorted(path for path in files() if "/" in path) == sorted([*kept, *gone])
    assert "phase: Ready" in git(remote, "show", f"status:{kept[0]}")

    store = await begin()
    assert sorted(record.ref for record in store.removed_records()) == refs[1:3]
    await put(store, refs[1:3], Phase.PENDING)
    assert sorted(path for path in files() if "/" in path) == divided

    other = ObjectRef(Kind.DATASET, "default", "e")
    await put(store, [other], Phase.READY)
    monkeypatch.setattr(most, 0)
    await (await begin()).flush()
    assert sorted(path for path in files() if "/" in path) == sorted(
        [*divided, sharded_path(status_path(other))]
    )


async def test_a_start_with_a_copy_that_lost_a_file_fetches_it_again(tmp_path: Path) -> None:
    history = History(make_bare(tmp_path, "remote.git"))

    def store() -> StatusStore:
        branch = status_branch_at(tmp_path / "status.git", history.url)
        return StatusStore(branch, cluster="local", instance="default", path="")

    first = store()
    await first.load()
    first.update({REF: ObjectStatus(ref=REF, phase=Phase.READY)}, removed=(), sync=SYNC)
    await first.flush()
    tip = git(history.path, "rev-parse", "status").strip()
    lose_file(tmp_path / "status.git", tip, "default/models/a.yaml")
    again = store()
    await again.load()
    assert again.records[REF].phase is Phase.READY
