"""The mirror's handle is used by one thread at a time, also where an export finds it damaged."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reconciler.git.bare import BareCopy
from reconciler.git.credentials import CredentialTable
from reconciler.git.errors import DamagedError
from reconciler.git.manifest_mirror import Mirror
from reconciler.types import TreeId
from tests.git.history import History
from tests.git.remotes import FileRemote, make_bare
from tests.patience import PATIENCE


class Damaged(Mirror):
    """No export can read it before it is made anew. ``failed`` is called after each that cannot."""

    remakes = 0
    failed: Callable[[], object]

    def _remake(self) -> None:
        super()._remake()
        self.remakes += 1

    def _export(self, tree: TreeId, destination: Path) -> None:
        if not self.remakes:
            self.failed()
            raise DamagedError("it is damaged")
        super()._export(tree, destination)


@pytest.fixture
def mirror(files: FileRemote, tmp_path: Path) -> Damaged:
    history = History(make_bare(files.root))
    history.commit({"src/train.sh": "train"})
    made = Damaged.open(
        tmp_path / "mirror.git",
        history.path.as_uri(),
        branch="main",
        credentials=CredentialTable(),
    )
    assert isinstance(made, Damaged)
    return made


def folder(mirror: Mirror) -> TreeId:
    tree = mirror.tree_id(mirror.fetch(), "src")
    assert tree is not None
    return tree


def test_an_export_waits_for_a_read_before_it_makes_the_mirror_anew(
    mirror: Damaged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, begun, go = threading.Semaphore(0), threading.Event(), threading.Event()
    remade = threading.Event()
    remake = BareCopy.remake

    def tell(copy: BareCopy) -> None:
        remade.set()
        remake(copy)

    def read() -> bool:
        begun.set()
        assert go.wait(PATIENCE)
        return remade.is_set()

    monkeypatch.setattr(BareCopy, "remake", tell)
    tree = folder(mirror)
    mirror.failed = tried.release
    with ThreadPoolExecutor(2) as pool:
        reading = pool.submit(mirror._reading, read)
        assert begun.wait(PATIENCE)
        exporting = pool.submit(mirror.export_tree, tree, tmp_path / "out")
        for _ in range(2):
            assert tried.acquire(timeout=PATIENCE)
        remade.wait(0.2)
        go.set()
        assert not reading.result(), "it was made anew during a read"
        exporting.result()
    assert remade.is_set()
    assert (tmp_path / "out" / "train.sh").read_text() == "train"


def test_exports_that_find_the_same_damage_make_the_mirror_anew_once(
    mirror: Damaged, tmp_path: Path
) -> None:
    both = threading.Barrier(2)
    tree = folder(mirror)
    mirror.failed = lambda: both.wait(PATIENCE)
    with ThreadPoolExecutor(2) as pool:
        for exporting in [
            pool.submit(mirror.export_tree, tree, tmp_path / name) for name in ("a", "b")
        ]:
            exporting.result()
    assert mirror.remakes == 1
    for name in ("a", "b"):
        assert (tmp_path / name / "train.sh").read_text() == "train"
