"""Artifacts in cloud buckets, as a scrub of the daemon reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.engine import Wanted
from reconciler.engines.kubernetes.engine import KubernetesEngine
from reconciler.engines.local.marker import MARKER
from reconciler.engines.local.scrub import is_stored_as_made
from reconciler.types import TaskKey, TaskKind
from tests.engines.local.test_signed_artifacts import KEY, make, replace
from tests.store_servers import StoreServer, gcs_server, s3_server


@pytest.fixture(scope="module", params=[s3_server, gcs_server], ids=["s3", "gcs"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StoreServer]:
    with request.param(tmp_path_factory.mktemp("store") / "root") as found:
        yield found


@pytest.fixture
def store(server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> StoreServer:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def artifact(store: StoreServer, request: pytest.FixtureRequest) -> Path:
    """An artifact in a folder of this test's own."""
    return make(store.folder / str(abs(hash(request.node.name))) / KEY, KEY, None)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda d: None, True),
        (lambda d: (d / "logs" / "attempt-2.log").touch(), True),
        (lambda d: flip(d / "a"), False),
        (lambda d: flip(d / "deep/b"), False),
        (lambda d: (d / "a").unlink(), False),
        (lambda d: (d / "new").write_text("x"), False),
        # They may be of another place than the runs': it is no proof of a loss.
        (lambda d: (d / MARKER).unlink(), None),
        (lambda d: replace(d / MARKER, KEY, "f" * 40), None),
    ],
)
async def test_what_changed_in_a_bucket_is_found(
    store: StoreServer, artifact: Path, damage: Callable[[Path], object], found: bool | None
) -> None:
    url = f"{store.url}/{artifact.relative_to(store.folder).as_posix()}/"
    damage(artifact)
    wanted = Wanted(TaskKind.TRAIN, TaskKey(KEY), url)
    engine = KubernetesEngine.__new__(KubernetesEngine)
    assert await engine.verify(wanted) is found
    assert await is_stored_as_made(url, KEY) is found


async def test_what_cannot_be_reached_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    engine = KubernetesEngine.__new__(KubernetesEngine)
    for url in ("gs://models/a", "pvc://claim/a", "file:///a"):
        assert await engine.verify(Wanted(TaskKind.TRAIN, TaskKey(KEY), url)) is None
