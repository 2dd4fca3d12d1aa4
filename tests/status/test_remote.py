"""Another cluster's status file is input from outside: whatever it holds, it is only judged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.manifests import LARGEST_FILE
from reconciler.planner.object_status import ArtifactStatus, HistoryEntry, ObjectStatus, Verdict
from reconciler.planner.phases import Phase, TaskPhase
from reconciler.planner.remote_clusters import RemoteArtifact, RemoteObject, Unavailable
from reconciler.status.encoding import dump_record, dump_yaml, load_yaml
from reconciler.status.remote import read_cluster, read_remote_object
from reconciler.types import ForeignRef, Kind, ObjectRef, TaskKey, TaskKind

REF = ObjectRef(Kind.MODEL, "default", "base")
TARGET = ForeignRef("prod", REF)
PATH = "default/models/base.yaml"
OLD, NEW, BUILD = TaskKey("a" * 40), TaskKey("b" * 40), "e" * 40
IMAGE = f"registry.test/base@sha256:{'0' * 64}"


def entry(key: str, task: TaskKind, **more: Any) -> HistoryEntry:
    return HistoryEntry(task=task, key=TaskKey(key), phase=TaskPhase.SUCCEEDED, **more)


RECORD = ObjectStatus(
    ref=REF,
    phase=Phase.TRAINING,
    image=IMAGE,
    artifact=ArtifactStatus(
        url="s3://prod/new", key=NEW, image=IMAGE, image_key=BUILD, metrics={"accuracy": 0.9}
    ),
    history=(
        entry(BUILD, TaskKind.BUILD, image=IMAGE, image_key=BUILD),
        entry(
            OLD,
            TaskKind.TRAIN,
            artifact="s3://prod/old",
            image=IMAGE,
            image_key=BUILD,
            metrics={"accuracy": 0.8},
        ),
        HistoryEntry(task=TaskKind.TRAIN, key=TaskKey("c" * 40), phase=TaskPhase.FAILED),
    ),
)


def read(data: bytes) -> RemoteObject | Unavailable:
    return read_remote_object(TARGET, PATH, data)


def changed(**status: Any) -> bytes:
    value = load_yaml(PATH, dump_record(RECORD))
    value["status"].update(status)
    return dump_yaml(value)


def test_what_a_daemon_writes_is_what_another_reads() -> None:
    made = RemoteArtifact(key=NEW, url="s3://prod/new", image=IMAGE, image_key=BUILD)
    new = replace(made, metrics={"accuracy": 0.9})
    old = replace(made, key=OLD, url="s3://prod/old", metrics={"accuracy": 0.8})
    assert read(dump_record(RECORD)) == RemoteObject(
        phase="Training", current=new, artifacts={OLD: old, NEW: new}
    )


def test_what_no_gate_has_accepted_is_no_artifact_there() -> None:
    kept = [
        entry(key * 40, TaskKind.TRAIN, artifact=f"s3://prod/{key}", verdict=verdict)
        for key, verdict in (
            ("1", Verdict.ACCEPTED),
            ("2", Verdict.REJECTED),
            ("3", Verdict.PENDING),
        )
    ]
    tested = entry("4" * 40, TaskKind.EVALUATE, artifact="s3://prod/evaluations/4")
    found = read(dump_record(replace(RECORD, history=(*kept, tested))))
    assert isinstance(found, RemoteObject)
    assert found.artifacts.keys() == {"1" * 40, NEW}


def test_metrics_that_are_none_are_left_out() -> None:
    wrong = {"accuracy": 0.9, "loss": float("nan"), "\x1b[31m": 1, "note": "best", "x" * 1000: 2}
    artifact = {"url": "s3://prod/new", "key": NEW, "metrics": wrong}
    found = read(changed(artifact=artifact))
    assert isinstance(found, RemoteObject)
    assert found.current is not None
    assert found.current.metrics == {"accuracy": 0.9}
    found = read(changed(artifact={**artifact, "metrics": "many"}))
    assert isinstance(found, RemoteObject)


def test_what_a_newer_version_has_added_is_passed_over() -> None:
    found = read(changed(novelty={"any": ["thing"]}, phase="Novel"))
    assert isinstance(found, RemoteObject)
    assert found.phase == "Novel"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "holds 0 documents"),
        (b"a: 1\n---\na: 2\n", "holds 2 documents"),
        (b"- a\n", "apiVersion None"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a: [", "cannot be read"),
        (b"a: &a [1]\nb: *a\nb: 2\n", "b"),
        (b"#" * (LARGEST_FILE + 1), "larger than 1 MiB"),
        (b"a: &a [" + b"1," * 999 + b"1]\nb: [" + b"*a," * 999 + b"*a]\n", "values"),
        (b"apiVersion: substratus.ai/v2\n", "apiVersion 'substratus.ai/v2'"),
        (b"apiVersion: substratus.ai/v1\n", "cannot be read"),
        (changed(artifact={"url": "s3://prod/new", "key": "../../x"}), "artifact.key"),
        (changed(artifact={"url": ["s3://prod/new"], "key": NEW}), "artifact.url"),
        (changed(artifact={"url": "s3://" + "x" * 3000, "key": NEW}), "artifact.url"),
        (changed(history="none"), "history"),
        (changed(phase="\x1b[31mReady"), "cannot be read"),
        (dump_record(RECORD).replace(b"name: base", b"name: other"), "about Model default/other"),
        (dump_record(RECORD).replace(b"kind: Model", b"kind: Dataset"), "is about Dataset"),
    ],
)
def test_what_is_no_status_of_the_object_is_said_to_be_none(data: bytes, why: str) -> None:
    found = read(data)
    assert isinstance(found, Unavailable)
    assert why in found.detail
    assert "\n" not in found.detail


@given(st.binary(max_size=300))
def test_no_bytes_raise(data: bytes) -> None:
    assert isinstance(read(data), RemoteObject | Unavailable)
    assert isinstance(read_cluster("sync.yaml", data), str | Unavailable)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
)


@given(st.sampled_from(["phase", "artifact", "history", "references", "image"]), _JSON)
def test_no_value_in_place_of_another_raises(name: str, value: object) -> None:
    assert isinstance(read(changed(**{name: value})), RemoteObject | Unavailable)
