"""What failed attempts and local tries have left is removed once it is old, and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.daemon.retention_remains import RemainsReader
from reconciler.engine import CollectedKind
from reconciler.engines.local import ArtifactPlaceError, ArtifactPlaces
from reconciler.planner import (
    HistoryEntry,
    Ledger,
    ObjectStatus,
    OwnCluster,
    Phase,
    RetentionPolicy,
    TaskPhase,
)
from reconciler.types import Kind, ObjectRef, TaskKey, TaskKind
from tests.daemon.test_retention import report
from tests.e2e.site import Site, environment

TRAIN = 'echo "$PARAM_LR" > "$MODEL_DIR/weights"\n'


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.trained("a", TRAIN, params={"lr": 1})
    retention(site)
    return site


def retention(site: Site, **policy: Any) -> None:
    given = {"enabled": False, "keep": 1, "days": 0, "failed": 0, "grace": "7d", "maxShare": 1.0}
    site.configure(retention=given | policy)


def folders(site: Site) -> set[str]:
    """The keys of which something is there."""
    found = site.root / "state/buckets/default/clusters/local/namespaces/default/models/a"
    return {each.name for each in found.iterdir() if each.is_dir() and len(each.name) == 40}


def failed(site: Site) -> str:
    """A training that failed after it had written a checkpoint; a later commit is fine."""
    site.script("src/a/train.sh", 'echo half > "$MODEL_DIR/checkpoint"\nexit 1\n')
    assert site.sync().returncode != 0
    (entry,) = (e for e in site.statuses()["a"]["history"] if e["phase"] == "Failed")
    return str(entry["key"])


def mend(site: Site) -> None:
    site.script("src/a/train.sh", TRAIN)
    assert site.sync().returncode == 0


def history(site: Site, key: str) -> list[dict[str, Any]]:
    return [e for e in site.statuses()["a"]["history"] if e["key"] == key]


def test_what_a_failed_attempt_has_left_goes_after_a_while(site: Site) -> None:
    key = failed(site)
    mend(site)
    assert key in folders(site)
    (entry,) = report(site).collected
    assert (entry.key, entry.what, entry.size > 0) == (key, CollectedKind.ATTEMPT, True)
    retention(site, enabled=True, failed=7)
    assert site.run_once().returncode == 0
    assert key in folders(site)
    retention(site, enabled=True)
    assert site.run_once().returncode == 0
    assert key not in folders(site)
    (noted,) = history(site, key)
    assert "collected" in noted
    assert report(site).collected == ()


def test_a_failure_is_remembered_after_what_it_left_is_gone(site: Site) -> None:
    text = (site.work / "src/a/train.sh").read_text()
    key = failed(site)
    broken = (site.work / "src/a/train.sh").read_text()
    mend(site)
    assert text == (site.work / "src/a/train.sh").read_text()
    retention(site, enabled=True)
    assert site.run_once().returncode == 0
    site.ran()
    site.write("src/a/train.sh", broken, executable=True)
    assert site.sync().returncode != 0
    assert site.ran() == {}
    assert site.phases() == {"a": "Failed"}
    assert len(history(site, key)) == 1


def test_what_the_manifest_asks_for_keeps_its_checkpoints(site: Site) -> None:
    key = failed(site)
    retention(site, enabled=True)
    site.run_once()
    assert key in folders(site)


def test_a_folder_with_a_marker_is_no_failed_attempt(site: Site, tmp_path: Path) -> None:
    assert site.sync().returncode == 0
    (key,) = folders(site)
    url = site.statuses()["a"]["artifact"]["url"]
    places = ArtifactPlaces()
    assert places.rest(url, TaskKey(key), tried=False) is None
    with pytest.raises(ArtifactPlaceError, match="there is an artifact"):
        places.remove_rest(url, TaskKey(key), tried=False)
    assert folders(site) == {key}


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedPlaces(ArtifactPlaces):
    """Places that note for which folders they are asked."""

    asked: list[str] = field(default_factory=list)

    def rest(self, url: str, key: TaskKey, *, tried: bool) -> int | None:
        self.asked.append(url)
        return ArtifactPlaces.rest(self, url, key, tried=tried)


def test_a_folder_in_which_nothing_was_is_asked_for_once_an_attempt(tmp_path: Path) -> None:
    bucket, now = tmp_path.as_uri(), datetime(2026, 1, 1, tzinfo=UTC)
    ref = ObjectRef(Kind.MODEL, "default", "a")
    left, empty = (TaskKey(letter * 40) for letter in "ab")
    folder = tmp_path / "clusters/local/namespaces/default/models/a" / left
    folder.mkdir(parents=True)
    (folder / "checkpoint").write_text("half")
    places = CountedPlaces()
    own = OwnCluster(cluster="local", buckets=(bucket,))
    reader = RemainsReader(places=places, policy=RetentionPolicy(failed=0), own=own)

    def record(*keys: TaskKey) -> list[ObjectStatus]:
        ends = [
            HistoryEntry(
                task=TaskKind.TRAIN,
                key=key,
                phase=TaskPhase.FAILED,
                finished=now + timedelta(minutes=number),
            )
            for number, key in enumerate(keys)
        ]
        return [ObjectStatus(ref=ref, phase=Phase.FAILED, history=tuple(ends))]

    def asked(*keys: TaskKey) -> list[TaskKey]:
        places.asked.clear()
        found = reader.read(record(*keys), Ledger(), {}, now + timedelta(days=1))
        assert [each.key for each in found] == [left]
        return sorted(TaskKey(url.rstrip("/").rpartition("/")[2]) for url in places.asked)

    assert asked(left, empty) == [left, empty]
    assert asked(left, empty) == [left]
    assert asked(left, empty, empty) == [left, empty]


def test_tries_go_with_age_but_for_the_newest(site: Site) -> None:
    assert site.sync().returncode == 0
    made = folders(site)
    for lr in (2, 3):
        assert site.run_once("--set", f"training.params.lr={lr}", "a").returncode == 0
    old, new = (key for key in tried(site))
    assert site.run_once().returncode == 0
    assert report(site).collected == ()
    retention(site, grace="0.001s")
    assert site.run_once().returncode == 0
    assert [(e.key, e.what) for e in report(site).collected] == [(old, CollectedKind.TRY)]
    assert "(local try)" in site.call("artifacts", "--collect").stdout
    listed = json.loads(site.call("artifacts", "--collect", "--format", "json").stdout)
    assert [(each["what"], each["url"], each["collection"]) for each in listed] == [
        ("try", None, "remove")
    ]
    retention(site, enabled=True, grace="0.001s")
    assert site.run_once().returncode == 0
    assert folders(site) == made | {new}
    retention(site, enabled=True, grace="0.001s", keep=0)
    assert site.run_once().returncode == 0
    assert folders(site) == made


@pytest.mark.parametrize("clears", [":", 'rm -rf "$MODEL_DIR"/*'])
def test_what_a_failed_try_has_left_goes_as_that_of_a_failed_attempt(
    site: Site, clears: str
) -> None:
    body = f'{clears}\necho half > "$MODEL_DIR/checkpoint"\ntest "$PARAM_LR" = 1\n'
    site.trained("a", body, params={"lr": 1})
    assert site.sync().returncode == 0
    made = folders(site)
    assert site.run_once("--set", "training.params.lr=2", "a").returncode == 1
    (left,) = folders(site) - made
    assert site.run_once().returncode == 0
    (entry,) = report(site).collected
    assert (entry.key, entry.what, entry.size > 0) == (left, CollectedKind.ATTEMPT, True)
    retention(site, enabled=True, failed=7)
    assert site.run_once().returncode == 0
    assert folders(site) == made | {left}
    retention(site, enabled=True)
    assert site.run_once().returncode == 0
    assert folders(site) == made


def tried(site: Site) -> list[str]:
    """The keys of tries, the oldest first."""
    folder = site.root / "state/buckets/default/clusters/local/namespaces/default/models/a"
    markers = [json.loads(each.read_text()) for each in folder.glob("*/completed.json")]
    markers = [each for each in markers if each.get("local") is True]
    return [str(each["key"]) for each in sorted(markers, key=lambda each: str(each["finished"]))]


def test_a_try_that_a_commit_asks_for_is_its_artifact(site: Site) -> None:
    assert site.sync().returncode == 0
    assert site.run_once("--set", "training.params.lr=2", "a").returncode == 0
    (key,) = tried(site)
    site.ran()
    site.edit("a.yaml", '{"lr": 1}', '{"lr": 2}')
    retention(site, enabled=True, grace="0.001s", keep=0)
    assert site.sync().returncode == 0
    assert site.ran() == {}
    assert key in folders(site)
    assert site.statuses()["a"]["artifact"]["key"] == key


KILLED = """
import os, signal, sys
from reconciler.engines.local import ArtifactPlaces
left = int(sys.argv[3])
def step(event, arguments):
    global left
    if event in ("os.rename", "os.remove", "os.rmdir"):
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
sys.addaudithook(step)
ArtifactPlaces().remove_rest(sys.argv[1], sys.argv[2], tried=sys.argv[4] == "try")
"""


@pytest.mark.parametrize("what", ["try", "attempt"])
def test_killed_at_any_step_the_next_collection_goes_on(tmp_path: Path, what: str) -> None:
    key = TaskKey("a" * 40)
    folder = tmp_path / "clusters/local/namespaces/default/models/a" / key
    places, tried = ArtifactPlaces(), what == "try"
    for steps in range(20):
        (folder / "checkpoints").mkdir(parents=True)
        for name in ("weights", "checkpoints/1", "checkpoints/2"):
            (folder / name).write_text("x")
        if tried:
            (folder / "completed.json").write_text("{}")
        arguments = [folder.as_uri(), key, str(steps), what]
        done = subprocess.run(
            [sys.executable, "-c", KILLED, *arguments], env=environment(), check=False
        )
        ended = done.returncode == 0
        assert ended or done.returncode == -signal.SIGKILL
        if not ended:
            marker = (folder / "completed.json").exists()
            whole = sum(len(files) for _, _, files in os.walk(folder)) >= 4
            assert not marker or whole, "half of it is called an artifact"
            if places.rest(folder.as_uri(), key, tried=tried) is not None:
                places.remove_rest(folder.as_uri(), key, tried=tried)
        assert not folder.exists() or not list(folder.iterdir())
        if folder.exists():
            folder.rmdir()
        if ended:
            return
    raise AssertionError("it never ended")
