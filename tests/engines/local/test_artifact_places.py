"""Artifacts are hidden, restored and removed; whenever it is killed, nothing is taken for whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store

from reconciler.engines.local import ArtifactPlaceError, ArtifactPlaces, ArtifactState, RootLayout
from reconciler.engines.local.fsync import make_read_only, make_writable
from reconciler.engines.local.locks import FileLock
from reconciler.engines.local.marker import read_marker
from reconciler.types import TaskKey
from tests.engines.local.test_signed_artifacts import KEY, make
from tests.store_servers import StoreServer, s3_server

PATH = f"clusters/c/namespaces/default/models/m/{KEY}"
KILLED = -signal.SIGKILL


@dataclass
class Place:
    """An artifact's folder on this disk, its URL, and what reads the URL."""

    folder: Path
    url: str
    places: ArtifactPlaces

    @property
    def state(self) -> ArtifactState | None:
        found = self.places.read(self.url, TaskKey(KEY))
        return found.state if found is not None else None

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir()) if self.folder.exists() else []

    @property
    def whole(self) -> bool:
        return read_marker(self.folder, KEY) is not None

    def hide(self) -> None:
        self.places.hide(self.url, TaskKey(KEY))

    def restore(self) -> bool:
        return self.places.restore(self.url, TaskKey(KEY))

    def remove(self) -> int:
        return self.places.remove(self.url, TaskKey(KEY))

    def killed(self, step: int, what: str) -> bool:
        """Do it in a process that is killed before its step-th change; False if it has fewer."""
        argv = ["-m", "tests.engines.local.removal_victim", str(step), what, self.url, KEY]
        code = subprocess.run([sys.executable, *argv], check=False, timeout=120).returncode
        assert code in (0, KILLED)
        return code == KILLED


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with s3_server(tmp_path_factory.mktemp("store") / "root", cached="1h") as found:
        yield found


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    return tmp_path / "bucket"


def folder_place(bucket: Path) -> Place:
    folder = make(bucket / PATH, KEY, None)
    (folder / "logs").mkdir(exist_ok=True)
    (folder / "logs" / "attempt-1.log").write_text("done\n")
    return Place(folder, folder.as_uri() + "/", ArtifactPlaces())


def uploaded_place(
    name: str, request: pytest.FixtureRequest, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> Place:
    """An artifact in the S3 server, below a folder of this name."""
    server: StoreServer = request.getfixturevalue("server")
    for variable, value in server.environment.items():
        monkeypatch.setenv(variable, value)
    local = folder_place(bucket / name)
    store = S3Store(server.url.removeprefix("s3://"), client_options={"allow_http": True})
    for file in local.folder.rglob("*"):
        if file.is_file():
            path = f"{name}/{PATH}/{file.relative_to(local.folder)}"
            obstore.put(store, path, file.read_bytes())
    return Place(server.folder / name / PATH, f"{server.url}/{name}/{PATH}/", local.places)


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, bucket: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    if request.param == "folder":
        return folder_place(bucket)
    return uploaded_place(f"t{abs(hash(request.node.name))}", request, bucket, monkeypatch)


def test_hidden_it_is_no_artifact_and_restored_it_is_as_before(place: Place) -> None:
    before = {path: path.read_bytes() for path in place.folder.rglob("*") if path.is_file()}
    assert (place.state, place.whole) == (ArtifactState.COMPLETE, True)
    place.hide()
    place.hide()  # as after a kill
    assert (place.state, place.whole) == (ArtifactState.HIDDEN, False)
    assert ".reconciler-collected.json" in place.names
    assert place.restore()
    assert place.restore()
    assert (place.state, place.whole) == (ArtifactState.COMPLETE, True)
    assert {p: p.read_bytes() for p in place.folder.rglob("*") if p.is_file()} == before


def test_only_what_is_hidden_is_removed(place: Place) -> None:
    with pytest.raises(ArtifactPlaceError, match="not hidden any more"):
        place.remove()
    assert place.whole
    place.hide()
    size = sum(path.stat().st_size for path in place.folder.rglob("*") if path.is_file())
    assert place.remove() == size
    assert place.names == []
    assert place.state is None
    assert (place.remove(), place.restore()) == (0, False)
    if place.url.startswith("file:"):
        assert place.folder.parent.is_dir()


def test_a_read_only_artifact_is_removed_too(bucket: Path) -> None:
    place = folder_place(bucket)
    make_read_only(place.folder)
    place.hide()
    assert place.folder.stat().st_mode & 0o200 == 0
    place.remove()
    assert not place.folder.exists()


def test_facts_are_those_of_the_marker(place: Place) -> None:
    facts = place.places.read(place.url, TaskKey(KEY))
    assert facts is not None
    files = (place.folder / name for name in ("a", "deep/b", "c", ".gitattributes"))
    assert facts.size == sum(path.stat().st_size for path in files)
    (place.folder / "completed.json").write_text("{")
    with pytest.raises(ArtifactPlaceError, match=KEY):
        place.places.read(place.url, TaskKey(KEY))


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_killed_at_any_step_of_hiding_it_is_whole_or_hidden(
    kind: str, request: pytest.FixtureRequest, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = 0
    for step in range(1, 20):
        place = fresh(kind, f"hide{step}", request, bucket, monkeypatch)
        going_on = place.killed(step, "hide")
        assert place.state in (ArtifactState.COMPLETE, ArtifactState.HIDDEN)
        assert place.whole is (place.state is ArtifactState.COMPLETE)
        place.hide()
        assert place.state is ArtifactState.HIDDEN
        assert place.restore()
        assert place.whole
        if not going_on:
            break
        killed += 1
    assert killed == {"folder": 1, "s3": 2}[kind]


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_killed_at_any_step_of_an_undo_it_is_whole_or_hidden(
    kind: str, request: pytest.FixtureRequest, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(1, 20):
        place = fresh(kind, f"undo{step}", request, bucket, monkeypatch)
        place.hide()
        going_on = place.killed(step, "restore")
        assert place.state in (ArtifactState.COMPLETE, ArtifactState.HIDDEN)
        assert place.restore()
        assert place.whole
        if not going_on:
            return
    raise AssertionError("it never ended")


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_killed_at_any_step_of_a_removal_nothing_half_removed_is_an_artifact(
    kind: str, request: pytest.FixtureRequest, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = 0
    for step in range(1, 40):
        place = fresh(kind, f"remove{step}", request, bucket, monkeypatch)
        names = place.names
        place.hide()
        going_on = place.killed(step, "remove")
        assert not place.whole
        if len(place.names) < len(names):  # something is gone: no undo can bring it back
            assert place.state in (ArtifactState.REMOVING, None)
        if step % 2:
            place.remove()  # what the next daemon does
            assert place.names == []
        else:  # what one does that needs it after all
            assert place.restore() is (read_marker(place.folder, KEY) is not None)
            assert read_marker(place.folder, KEY) is not None or place.names == []
        if not going_on:
            break
        killed += 1
    assert killed >= 6


def fresh(
    kind: str,
    name: str,
    request: pytest.FixtureRequest,
    bucket: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Place:
    if kind == "folder":
        return folder_place(bucket / name)
    return uploaded_place(name, request, bucket, monkeypatch)


def test_no_symbolic_link_is_followed(bucket: Path, tmp_path: Path) -> None:
    other = folder_place(tmp_path / "elsewhere")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    names = bucket / PATH
    names.parent.mkdir(parents=True)
    names.symlink_to(other.folder)
    linked = Place(names, names.as_uri(), ArtifactPlaces())
    for act in (linked.hide, linked.remove, lambda: linked.state):
        with pytest.raises(ArtifactPlaceError):
            act()
    assert other.whole
    place = folder_place(tmp_path / "bucket2")
    make_writable(place.folder)
    (place.folder / "link").symlink_to(outside)
    (place.folder / "deep" / "link").symlink_to(outside / "precious")
    place.hide()
    place.remove()
    assert not place.folder.exists()
    assert (outside / "precious").read_text() == "x"


def test_a_bucket_that_is_not_there_is_not_empty(bucket: Path) -> None:
    place = folder_place(bucket)
    bucket.rename(bucket.with_name("unmounted"))
    with pytest.raises(ArtifactPlaceError):
        _ = place.state
    (bucket / "clusters" / "c" / "namespaces").mkdir(parents=True)
    with pytest.raises(ArtifactPlaceError):
        _ = place.state
    (bucket / "clusters" / "c" / "namespaces" / "default").mkdir()
    assert place.state is None


def test_nothing_but_an_artifacts_folder_is_touched(tmp_path: Path) -> None:
    folder = make(tmp_path / "data" / KEY, KEY, None)
    place = Place(folder, folder.as_uri(), ArtifactPlaces())
    with pytest.raises(ArtifactPlaceError, match="no artifact's folder"):
        place.hide()
    assert place.whole


def test_an_artifact_that_an_attempt_works_on_is_left_alone(bucket: Path, tmp_path: Path) -> None:
    layout = RootLayout(tmp_path / "state")
    layout.prepare()
    place = folder_place(bucket)
    place.places = ArtifactPlaces(layout)
    lock = FileLock.take(layout.key_lock(KEY))
    assert lock is not None
    with pytest.raises(ArtifactPlaceError, match="under way"):
        place.hide()
    lock.release()
    place.hide()
    assert place.state is ArtifactState.HIDDEN
    assert os.access(layout.key_lock(KEY), os.F_OK)


def test_what_is_no_file_is_no_marker_and_is_not_waited_for(bucket: Path) -> None:
    place = folder_place(bucket)
    marker = place.folder / "completed.json"
    marker.unlink()
    os.mkfifo(marker)
    with pytest.raises(ArtifactPlaceError, match=r"completed\.json is not a regular file"):
        _ = place.state
    marker.unlink()
    marker.symlink_to("a")
    with pytest.raises(ArtifactPlaceError, match=r"completed\.json is not a regular file"):
        _ = place.state
