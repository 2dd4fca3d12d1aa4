"""Formats that outlive every refactoring: keys, names, paths and the status file.

The golden file is never edited to make a test pass. A change of it would retrain every model of
every user, or lose their history; it is a new version of the format, with a new golden file.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.engine import FailureClass
from reconciler.manifests.loader import read_file
from reconciler.planner.ledger import Ledger
from reconciler.planner.names import (
    artifact_url,
    is_removed_path,
    removed_path,
    run_name,
    status_path,
)
from reconciler.planner.object_status import (
    ArtifactStatus,
    Condition,
    HistoryEntry,
    ManifestStatus,
    ObjectStatus,
    SourceStatus,
    TaskStatus,
)
from reconciler.planner.phases import Phase, TaskPhase
from reconciler.planner.resolver import resolve
from reconciler.reasons import UnresolvedSource
from reconciler.status.encoding import dump_record, load_record
from reconciler.types import (
    BucketSource,
    Commit,
    DataListing,
    ExecutionHash,
    FoundSource,
    GitSource,
    Kind,
    ListingDigest,
    ObjectRef,
    RequestHash,
    ResolvedSource,
    SourceField,
    SourceRequest,
    TaskKey,
    TaskKind,
    TreeId,
)

GOLDEN = Path(__file__).parent.parent / "golden"
REF = ObjectRef(Kind.MODEL, "default", "falcon-7b")


def keys_of(file: Path) -> dict[str, dict[str, str | None]]:
    """Every key, how and intent that the golden manifests have, by object and task."""
    content = read_file(file.name, file.read_bytes())
    assert not content.problems
    objects = {manifest.ref: manifest for manifest in content.manifests}
    requests = {
        ref: {
            field: GitSource(url=git.url, path=git.path, branch=git.branch)
            for field, git in manifest.git_sources.items()
        }
        for ref, manifest in objects.items()
    }
    where = ResolvedSource(Commit("1" * 40), TreeId("2" * 40))
    buckets = {
        ref: {SourceField.OBJECT: BucketSource(manifest.observed.url, ref.namespace)}
        for ref, manifest in objects.items()
        if manifest.observed is not None
    }
    listing = DataListing(ListingDigest("3" * 40), files=2, size=10)
    sources: dict[SourceRequest, FoundSource | UnresolvedSource] = {}
    sources |= dict.fromkeys((r for each in requests.values() for r in each.values()), where)
    sources |= dict.fromkeys((r for each in buckets.values() for r in each.values()), listing)
    found = resolve(
        cluster="golden",
        objects=objects,
        sources=sources,
        requests={**requests, **buckets},
        records={},
        ledger=Ledger(),
    )
    keys: dict[str, dict[str, str | None]] = {}
    for ref, item in sorted(found.items()):
        keys[str(ref)] = {"artifact": item.key, "image": item.image_key}
        for task in item.tasks:
            keys[f"{ref} {task.label}"] = {
                "key": task.key,
                "how": task.execution_hash,
                "intent": task.request_hash,
            }
        for source in item.sources:
            keys[f"{ref} {source.field.value.removeprefix('spec.')}"] = {"pin": source.pin}
        if item.data is not None:
            keys[f"{ref} data"] = {"pin": item.data.pin, "intent": item.request_hash}
    return keys


@pytest.mark.parametrize(
    "name",
    ["keys-k1", "keys-k1-evaluations", "keys-k1-evaluation-sources", "observed-keys-k1"],
)
def test_keys_are_what_they_always_were(name: str) -> None:
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    assert keys_of(GOLDEN / f"{name}.yaml") == golden


def named(
    ref: ObjectRef | None, task: TaskKind, key: TaskKey, execution_hash: ExecutionHash
) -> str:
    return run_name(
        instance="default",
        namespace="default",
        ref=ref,
        task=task,
        key=key,
        execution_hash=execution_hash,
    )


def test_names_and_paths_are_what_they_always_were() -> None:
    key, execution_hash = TaskKey("0123456789" * 4), ExecutionHash("abcdef0123" * 4)
    assert named(REF, TaskKind.TRAIN, key, execution_hash) == "r-falcon-7b-t-1613cce1b5b1-abcdef"
    assert named(None, TaskKind.BUILD, key, execution_hash) == "r-build-b-1613cce1b5b1-abcdef"
    assert artifact_url(bucket="gs://b/prefix/", cluster="eu", ref=REF, key=key) == (
        "gs://b/prefix/clusters/eu/namespaces/default/models/falcon-7b/"
        "0123456789012345678901234567890123456789/"
    )
    assert status_path(REF) == "default/models/falcon-7b.yaml"
    assert removed_path(REF) == "removed/default/models/falcon-7b.yaml"


@pytest.mark.parametrize("namespace", ["default", "removed", "models"])
def test_where_a_status_file_is_says_whether_its_object_is_gone(namespace: str) -> None:
    ref = ObjectRef(Kind.MODEL, namespace, "falcon-7b")
    assert not is_removed_path(status_path(ref))
    assert is_removed_path(removed_path(ref))


@pytest.mark.parametrize("name", ["a", "a" * 63, "a" * 23 + "-" + "b" * 20])
def test_a_run_name_is_a_service_name_whatever_the_object_is_called(name: str) -> None:
    ref = ObjectRef(Kind.MODEL, "default", name)
    found = named(ref, TaskKind.LOAD, TaskKey("0" * 40), ExecutionHash("0" * 40))
    assert len(found) <= 54
    assert "--" not in found
    assert found == found.lower().strip("-")


def full_record() -> ObjectStatus:
    """A record with every field set."""
    time = datetime(2026, 11, 23, 8, 12, 6, tzinfo=UTC)
    return ObjectStatus(
        ref=REF,
        phase=Phase.TRAINING,
        reason="Running",
        message="running",
        manifest=ManifestStatus(
            path="models/falcon.yaml", commit=Commit("a" * 40), digest="b" * 64, protected=True
        ),
        source=SourceStatus(
            url="https://example.com/falcon",
            commit=Commit("c" * 40),
            tree=TreeId("d" * 40),
            pin="e" * 40,
        ),
        image="registry.example.com/models/default@sha256:" + "0" * 64,
        artifact=ArtifactStatus(
            url="gs://bucket/falcon/", key=TaskKey("1" * 40), metrics={"accuracy": 0.97}
        ),
        desired=TaskKey("2" * 40),
        conditions=(
            Condition(
                type="Ready", status="False", reason="Running", message="running", since=time
            ),
        ),
        tasks=(
            TaskStatus(
                task=TaskKind.TRAIN,
                phase=TaskPhase.RUNNING,
                key=TaskKey("2" * 40),
                execution_hash=ExecutionHash("3" * 40),
                request_hash=RequestHash("4" * 40),
                job="r-falcon-7b-t-0123456789ab-333333",
                attempts=2,
                failures=1,
                failure=FailureClass.INFRASTRUCTURE,
                started=time,
                finished=time,
                message="running",
                log="gs://bucket/falcon/logs/attempt-2.log",
            ),
        ),
        history=(
            HistoryEntry(
                task=TaskKind.TRAIN,
                key=TaskKey("1" * 40),
                phase=TaskPhase.SUCCEEDED,
                commit=Commit("f" * 40),
                finished=time,
                params={"epochs": 3, "layers": [1, 2], "on": "no", "rate": 0.001},
                metrics={"accuracy": 0.97},
                gpu_seconds=12.5,
                artifact="gs://bucket/falcon/",
                image_key="5" * 40,
            ),
            HistoryEntry(
                task=TaskKind.TRAIN,
                key=TaskKey("6" * 40),
                phase=TaskPhase.FAILED,
                execution_hash=ExecutionHash("7" * 40),
                finished=time,
                message="the command exited with 1",
            ),
            HistoryEntry(
                task=TaskKind.BUILD,
                key=TaskKey("5" * 40),
                phase=TaskPhase.SUCCEEDED,
                image="registry.example.com/models/default@sha256:" + "0" * 64,
                image_key="5" * 40,
            ),
        ),
    )


def test_a_status_file_is_what_it_always_was() -> None:
    golden = (GOLDEN / "status-v1.yaml").read_bytes()
    assert dump_record(full_record()) == golden
    assert load_record("falcon.yaml", golden) == full_record()


def test_an_empty_record_survives() -> None:
    record = ObjectStatus(ref=REF, phase=Phase.PENDING)
    assert load_record("falcon.yaml", dump_record(record)) == record
