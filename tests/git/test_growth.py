"""What gathers in our repositories over time is packed, and nothing in them is dropped."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reconciler.git import bare
from reconciler.types import Commit, GitSource
from tests.e2e.site import git
from tests.git.copies import mirror_at, sources_at, status_branch_at
from tests.git.history import Content, History
from tests.git.remotes import FileRemote, make_bare


def counted(repository: Path) -> tuple[int, int]:
    """Packs and loose objects."""
    packs = len(list(repository.glob("objects/pack/*.pack")))
    return packs, len(list(repository.glob("objects/??/*")))


def test_a_mirror_of_many_fetches_has_a_bounded_number_of_packs(
    local: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bare, "MOST_PACKS", 5)
    mirror = mirror_at(tmp_path / "mirror.git", local.url)
    files: dict[str, Content] = {}
    heads: list[Commit] = []
    previous = None
    for number in range(20):
        files[f"m/{number}.yaml"] = str(number)
        # Every third time the branch is begun anew, so that what it was is on no branch.
        head = local.commit(files, orphan=number % 3 == 0)
        assert mirror.fetch() == head
        previous = (head, mirror.list_manifests(head, "", previous))
        heads.append(head)
        packs, loose = counted(tmp_path / "mirror.git")
        assert packs <= 6
        assert loose == 0
    for number, head in enumerate(heads):
        assert len(mirror.list_manifests(head)) == number + 1
        assert mirror.read_file(head, f"m/{number}.yaml") == str(number).encode()
    assert "dangling" not in git(mirror.path, "fsck", "--no-dangling")


def test_a_status_branch_of_many_pushes_has_a_bounded_number_of_loose_objects(
    local: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bare, "MOST_LOOSE", 50)
    branch = status_branch_at(tmp_path / "status.git", local.url)
    for number in range(30):
        branch.push({f"default/models/{number % 7}.yaml": str(number).encode()}, str(number))
        packs, loose = counted(tmp_path / "status.git")
        assert loose < 200
        assert packs < 30
    assert len(git(local.path, "log", "--format=%s", "status").split()) == 30
    assert len(dict(branch.read_all())) == 7


def test_what_is_on_no_branch_survives_packing(
    local: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = bare.BareCopy(tmp_path / "copy.git")
    blob = copy.repository.create_blob(b"on no branch")
    ours = History(copy.path)
    dropped = ours.commit({"a": "dropped"})
    ours.commit({"a": "kept"}, orphan=True)
    monkeypatch.setattr(bare, "MOST_LOOSE", -1)
    assert copy.tidy()
    assert counted(copy.path)[0] == 1
    assert copy.repository[blob].read_raw() == b"on no branch"
    assert copy.repository.get(dropped) is not None


def test_a_small_repository_is_left_alone(tmp_path: Path) -> None:
    copy = bare.BareCopy(tmp_path / "copy.git")
    History(copy.path).commit({"a": ""})
    assert not copy.tidy()


def source_of(files: FileRemote, name: str) -> GitSource:
    local = History(make_bare(files.root / name))
    local.commit({"x": name})
    return GitSource(url=local.url)


def test_copies_of_sources_that_no_manifest_names_any_more_are_removed(
    files: FileRemote, tmp_path: Path
) -> None:
    def copies() -> set[Path]:
        return set((tmp_path / "sources").glob("*.git"))

    sources = sources_at(tmp_path / "sources", interval=0.0)
    named, left = source_of(files, "named"), source_of(files, "left")
    sources.resolve([named])
    (kept,) = copies()
    sources.resolve([named, left])
    for copy in copies():
        os.utime(copy, (0, 0))
    sources.resolve([named])
    assert len(copies()) == 2, "nothing has been added since"
    sources.resolve([named, source_of(files, "new")])
    assert len(copies()) == 2
    assert kept in copies()


def test_a_copy_that_a_clock_ahead_has_used_is_not_kept_till_then(
    files: FileRemote, tmp_path: Path
) -> None:
    sources = sources_at(tmp_path / "sources", interval=0.0)
    sources.resolve([source_of(files, "left")])
    (left,) = (tmp_path / "sources").glob("*.git")
    ahead = time.time() + 10 * 365 * 86400
    os.utime(left, (ahead, ahead))
    sources.resolve([source_of(files, "new")])
    assert left.stat().st_mtime <= time.time()


def test_contexts_are_exported_while_the_mirror_is_fetched_and_packed(
    local: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bare, "MOST_PACKS", 1)
    mirror = mirror_at(tmp_path / "mirror.git", local.url)
    files: dict[str, Content] = {f"src/{n}/x": str(n) for n in range(50)}
    head = local.commit(files)
    mirror.fetch()
    tree = mirror.tree_id(head, "src")
    assert tree is not None

    def export(number: int) -> int:
        mirror.export_tree(tree, tmp_path / "out" / str(number))
        return len(list((tmp_path / "out" / str(number)).iterdir()))

    with ThreadPoolExecutor(2) as pool:
        exports = pool.map(export, range(20))
        for number in range(10):
            newer = local.commit({**files, "n": str(number)})
            assert mirror.fetch() == newer
        assert set(exports) == {50}
