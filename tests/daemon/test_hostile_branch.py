"""A status branch that somebody else has pushed to: a daemon starts on it, and goes on pushing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pygit2.enums import FileMode, ObjectType

from reconciler.daemon.status_store import StatusStore, WrongBranchError
from reconciler.git import repository as bounds
from reconciler.planner import ObjectStatus, Phase, TaskPhase
from reconciler.planner.object_status import HistoryEntry
from reconciler.status import SYNC_FILE, Sync, dump_record, dump_sync
from reconciler.types import Kind, ObjectRef, TaskKey, TaskKind
from tests.daemon.test_status_store import REF, SYNC
from tests.e2e.site import git
from tests.git.copies import status_branch_at
from tests.git.history import AUTHOR, Content, History
from tests.git.remotes import make_bare

OTHER = ObjectRef(Kind.MODEL, "default", "b")
READY = ObjectStatus(ref=REF, phase=Phase.READY)
READY_TOO = ObjectStatus(ref=OTHER, phase=Phase.READY)
#: Entries of a tree that no checkout could write, and some of names that the daemon writes.
HOSTILE: dict[str, list[tuple[bytes, bytes, Content]]] = {
    "bytes that are no text": [(b"100644", b"\xff\xfe.yaml", "x")],
    "folders above": [(b"100644", b"..", "x"), (b"100644", b".git", "x")],
    "slashes": [(b"100644", b"a/b", "x"), (b"100644", b"a\\b", "x")],
    "a name twice": [(b"100644", b"sync.yaml", "x"), (b"120000", b"sync.yaml", "/etc/passwd")],
    "a folder in place of a file": [(b"40000", b"sync.yaml", "x"), (b"40000", b"README.md", "x")],
    "a file in place of a folder": [(b"100644", b"default", "x"), (b"100644", b"removed", "x")],
    "a link in place of a folder": [(b"120000", b"default", "/etc")],
    "submodules": [(b"160000", b"default", "x"), (b"160000", b"sync.yaml", "x")],
}


def store_at(folder: Path, history: History) -> StatusStore:
    branch = status_branch_at(folder, history.url)
    return StatusStore(branch, cluster="local", instance="default", path="")


def push_raw(history: History, entries: list[tuple[bytes, bytes, Content]]) -> None:
    """Push a commit of a tree that is written byte by byte, on top of the branch."""
    repository = history.repository
    text = b""
    for mode, name, content in entries:
        blob = repository.create_blob(str(content).encode())
        if mode == b"40000":
            builder = repository.TreeBuilder()
            builder.insert("x", blob, FileMode.BLOB)
            blob = builder.write()
        text += mode + b" " + name + b"\0" + blob.raw
    tree = repository.odb.write(ObjectType.TREE, text)
    tip = repository.references["refs/heads/status"].target
    commit = repository.create_commit(None, AUTHOR, AUTHOR, "x", tree, [tip])
    repository.references.create("refs/heads/status", commit, force=True)


async def pushed(tmp_path: Path) -> tuple[History, StatusStore]:
    """A branch with one object's status, and the store that pushed it."""
    history = History(make_bare(tmp_path, "remote.git"))
    store = store_at(tmp_path / "status.git", history)
    await store.load()
    store.update({REF: READY}, removed=(), sync=SYNC)
    await store.flush()
    return history, store


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("when", ["at the start", "while it runs"])
async def test_no_name_of_a_file_stops_the_pushes(tmp_path: Path, what: str, when: str) -> None:
    history, store = await pushed(tmp_path)
    push_raw(history, HOSTILE[what])
    if when == "at the start":
        store = store_at(tmp_path / "another.git", history)
        await store.load()
        assert not store.records
    store.update({OTHER: ObjectStatus(ref=OTHER, phase=Phase.FAILED)}, removed=(), sync=SYNC)
    await store.flush()
    assert "phase: Failed" in git(history.path, "show", "status:default/models/b.yaml")
    assert "cluster: local" in git(history.path, "show", f"status:{SYNC_FILE}")
    last = store_at(tmp_path / "last.git", history)
    await last.load()
    assert OTHER in last.records


@pytest.mark.parametrize("what", HOSTILE)
async def test_no_name_of_a_file_stops_the_restoring(tmp_path: Path, what: str) -> None:
    history, store = await pushed(tmp_path)
    push_raw(history, HOSTILE[what])
    store.update({OTHER: READY_TOO}, removed=(), sync=SYNC)
    await store.flush()
    git(history.path, "update-ref", "-d", "refs/heads/status")
    store.update({OTHER: replace(READY_TOO, phase=Phase.FAILED)}, removed=(), sync=SYNC)
    await store.flush()
    assert "phase: Failed" in git(history.path, "show", "status:default/models/b.yaml")


@pytest.mark.parametrize(
    "content",
    ["", "x", "\0", "[" * 100_000, "cluster: 5\n", "releases: {}\n"],
    ids=["empty", "text", "binary", "deep", "a number", "a mapping"],
)
@pytest.mark.parametrize("when", ["at the start", "while it runs"])
async def test_a_sync_file_that_is_none_is_written_anew(
    tmp_path: Path, content: str, when: str
) -> None:
    history, store = await pushed(tmp_path)
    history.commit({SYNC_FILE: content}, branch="status")
    if when == "at the start":
        store = store_at(tmp_path / "another.git", history)
        await store.load()
        assert not store.found_memory
    store.update({OTHER: ObjectStatus(ref=OTHER, phase=Phase.FAILED)}, removed=(), sync=SYNC)
    await store.flush()
    assert "cluster: local" in git(history.path, "show", f"status:{SYNC_FILE}")


async def test_a_branch_of_another_daemon_is_still_refused(tmp_path: Path) -> None:
    history = History(make_bare(tmp_path, "remote.git"))
    theirs = Sync(cluster="other", instance="x", path="", head=SYNC.head, observed=SYNC.observed)
    history.commit({SYNC_FILE: dump_sync(theirs)}, branch="status")
    with pytest.raises(WrongBranchError):
        await store_at(tmp_path / "status.git", history).load()


async def test_a_file_that_is_not_believed_is_forgotten_and_looked_for(tmp_path: Path) -> None:
    history = History(make_bare(tmp_path, "remote.git"))
    files: dict[str, Content] = {SYNC_FILE: dump_sync(SYNC), "default/models/a.yaml": "x"}
    history.commit(files, branch="status")
    store = store_at(tmp_path / "status.git", history)
    await store.load()
    assert not store.records
    assert not store.found_memory  # so the buckets are searched
    store.update({REF: READY}, removed=(), sync=SYNC)
    await store.flush()
    again = store_at(tmp_path / "again.git", history)
    await again.load()
    assert (again.records, again.found_memory) == ({REF: READY}, True)


async def test_a_removed_object_s_file_that_is_none_is_no_history(tmp_path: Path) -> None:
    history = History(make_bare(tmp_path, "remote.git"))
    files: dict[str, Content] = {SYNC_FILE: dump_sync(SYNC), "removed/default/models/a.yaml": "x"}
    history.commit(files, branch="status")
    store = store_at(tmp_path / "status.git", history)
    await store.load()
    assert store.found_memory  # nothing asks for it
    store.update({REF: READY}, removed=(), sync=SYNC)
    await store.flush()
    assert store.records == {REF: READY}


async def test_beyond_the_bounds_the_largest_files_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History(make_bare(tmp_path, "remote.git"))
    files: dict[str, bytes] = {SYNC_FILE: dump_sync(SYNC)}
    for number in range(5):
        ref = ObjectRef(Kind.MODEL, "default", f"m{number}")
        entry = HistoryEntry(
            task=TaskKind.TRAIN, key=TaskKey("a" * 40), phase=TaskPhase.FAILED, message="x" * number
        )
        record = ObjectStatus(ref=ref, phase=Phase.READY, history=(entry,) * (1 + 9 * number))
        files[f"default/models/m{number}.yaml"] = dump_record(record)
    history.commit(files, branch="status")
    size = sum(len(data) for path, data in files.items() if path != SYNC_FILE)
    monkeypatch.setattr(bounds, "LARGEST_READ", size - 1)
    store = store_at(tmp_path / "status.git", history)
    await store.load()
    assert sorted(ref.name for ref in store.records) == ["m0", "m1", "m2", "m3"]
    monkeypatch.setattr(bounds, "MOST_MANIFEST_FILES", 2)
    store = store_at(tmp_path / "other.git", history)
    await store.load()
    assert sorted(ref.name for ref in store.records) == ["m0", "m1"]


async def test_a_file_of_a_gigabyte_is_not_unpacked(tmp_path: Path) -> None:
    history = History(make_bare(tmp_path, "remote.git"))
    large = " " * (bounds.LARGEST_UNPACKED + 1)
    files: dict[str, Content] = {SYNC_FILE: dump_sync(SYNC), "default/models/a.yaml": large}
    history.commit({**files, "default/models/b.yaml": dump_record(READY)}, branch="status")
    found = dict(status_branch_at(tmp_path / "s.git", history.url).read_all())
    assert found == {}  # nothing was fetched yet
    branch = status_branch_at(tmp_path / "status.git", history.url)
    branch.fetch()
    assert dict(branch.read_all())["default/models/a.yaml"] is None
