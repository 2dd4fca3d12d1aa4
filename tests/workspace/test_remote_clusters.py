"""Objects of other clusters, in folders of their status branch with and without shards."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.git import LocalRepository
from reconciler.manifests import read_file
from reconciler.planner import (
    ObjectStatus,
    Phase,
    PlanCache,
    RemoteObject,
    Unavailable,
    removed_path,
    sharded_path,
    status_path,
)
from reconciler.status import SYNC_FILE, Sync, dump_record, dump_sync
from reconciler.types import Commit, ForeignRef, Kind, ObjectRef
from reconciler.workspace import RemoteStatusReader
from tests.git.history import History
from tests.git.remotes import make_bare

BRANCH = "reconciler/status/other"
BASE = ObjectRef(Kind.MODEL, "default", "base")
MANIFEST = b"""\
apiVersion: substratus.ai/v1
kind: Model
metadata: {name: tuned}
spec:
  source: {model: {name: base, cluster: other}}
"""


def read(folder: Path, path: str) -> RemoteObject | Unavailable:
    """Return what is read of the base, whose status is at a path."""
    history = History(make_bare(folder / "remote.git"))
    synced = datetime(2026, 1, 1, tzinfo=UTC)
    sync = Sync(cluster="other", instance="i", path="", head=Commit("a" * 40), observed=synced)
    record = dump_record(ObjectStatus(ref=BASE, phase=Phase.READY))
    history.commit({SYNC_FILE: dump_sync(sync), path: record}, branch=BRANCH)
    repository = LocalRepository.open(history.path)
    reader = RemoteStatusReader.local(repository, {"other": BRANCH})
    (manifest,) = read_file("tuned.yaml", MANIFEST, default_namespace="default").manifests
    found = reader.read({manifest.ref: manifest}, PlanCache())
    return found[ForeignRef("other", BASE)]


@pytest.mark.parametrize("place", [str, sharded_path])
def test_an_object_is_read_from_its_place(tmp_path: Path, place: Callable[[str], str]) -> None:
    assert isinstance(read(tmp_path, place(status_path(BASE))), RemoteObject)


@pytest.mark.parametrize("place", [str, sharded_path])
def test_a_removed_object_is_told(tmp_path: Path, place: Callable[[str], str]) -> None:
    found = read(tmp_path, place(removed_path(BASE)))
    assert found == Unavailable("it was removed there")
