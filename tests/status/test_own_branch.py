"""What is believed of this cluster's own status branch, and what is passed over and told."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.engine import Result, RunPhase
from reconciler.planner import (
    Ledger,
    ObjectStatus,
    OwnCluster,
    Phases,
    object_of_path,
)
from reconciler.planner.names import status_path
from reconciler.status import (
    OwnFile,
    Readme,
    Shards,
    Sync,
    dump_record,
    dump_sync,
    read_own_file,
    read_own_sync,
)
from reconciler.status.encoding import dump_yaml, load_yaml
from reconciler.types import TaskKey, TaskKind
from tests.planner.world import BUCKET, HEAD, START, World, finetune, model, scratch

EVIL = "0" * 64
OWN = OwnCluster(
    cluster="local", buckets=(BUCKET,), registry="registry.test/models", allow_images=("ok.test/*",)
)
GIVEN = f"ok.test/image@sha256:{'5' * 64}"
PINNED = """\
kind: Model
metadata: {name: %s}
spec:
  source: {model: {name: a, key: %s}}
  training: {params: {epochs: 4}}
"""
FROM_IMAGE = """\
kind: Dataset
metadata: {name: d}
spec:
  source: {image: {ref: "%s"}}
  load: {command: [sh]}
"""


def succeed(world: World, name: str) -> None:
    """A run ends, and has its result where this cluster would."""
    spec = world.specs[name]
    image = f"registry.test/models/default@sha256:{spec.key}{'1' * 24}" if spec.build else None
    world.runs[name] = replace(
        world.runs[name],
        phase=RunPhase.SUCCEEDED,
        finished=world.now,
        attempts=1,
        result=Result(image=image, url=spec.output, metrics={"accuracy": 0.5}),
    )


def settled() -> World:
    world = World(
        {
            "a.yaml": scratch("a"),
            "b.yaml": finetune("b", "a"),
            "d.yaml": FROM_IMAGE % GIVEN,
        }
    )
    world.settings = replace(world.settings, cluster="local", allow_images=("ok.test/*",))
    world.settle(succeed)
    artifact = world.records[model("a")].artifact
    assert artifact is not None
    world.files["c.yaml"] = PINNED % ("c", artifact.key)
    world.files["a.yaml"] = scratch("a", ", retries: 3").replace("epochs: 3", "epochs: 5")
    world.settle(succeed)
    return world


WORLD = settled()
FILES = {status_path(ref): dump_record(record) for ref, record in WORLD.records.items()}
PATH = status_path(model("a"))


def edited(change: Callable[[dict[str, Any]], object], path: str = PATH) -> OwnFile:
    document = load_yaml(path, FILES[path])
    change(document["status"])
    found = read_own_file(path, dump_yaml(document), OWN)
    assert found is not None
    return found


def test_what_this_cluster_wrote_is_believed_as_it_is() -> None:
    for path, data in FILES.items():
        found = read_own_file(path, data, OWN)
        assert found is not None
        assert (found.faults, found.record) == ((), WORLD.records[found.ref])
        removed = read_own_file(f"removed/{path}", data, OWN)
        assert removed is not None
        assert (removed.removed, removed.record) == (True, found.record)


@pytest.mark.parametrize(
    "name",
    [
        "default/models/../a.yaml",
        "default/models/A.yaml",
        "default/models/a.yaml\n",
        "default/models/\udcff.yaml",
        "../models/a.yaml",
        "default/tasks/a.yaml",
        "default/models/a/b.yaml",
        f"default/models/{'a' * 64}.yaml",
        "removed/removed/default/models/a.yaml",
        "README.md",
    ],
)
def test_a_file_of_another_name_is_no_object_s(name: str) -> None:
    assert read_own_file(name, b"x", OWN) is None


@pytest.mark.parametrize(
    "data",
    [
        None,
        b"",
        b"\xff",
        b"- a\n",
        b"a: &a [x]\nb: *b\n",
        b"a: 1\na: 2\n",
        b"apiVersion: substratus.ai/v1\nkind: Model\n",
        b"[" * 100_000,
        b"a: [" + b"1," * 600_000 + b"]",
        FILES[PATH].replace(b"substratus.ai/v1", b"substratus.ai/v9"),
        FILES[PATH].replace(b"phase: Ready", b"phase: Fine", 1),
        FILES[PATH].replace(b"  name: a\n", b"  name: b\n", 1),
        FILES[PATH].replace(b"kind: Model", b"kind: Dataset", 1),
    ],
)
def test_a_file_that_is_none_of_a_daemon_s_is_as_if_it_were_not_there(data: bytes | None) -> None:
    found = read_own_file(PATH, data, OWN)
    assert found is not None
    assert found.record is None
    assert found.faults


def test_aliases_are_expanded_within_bounds() -> None:
    laughs = "{a: &a [x, x, x, x, x, x, x, x, x, x]"
    for last, name in zip("abcdefgh", "bcdefghi", strict=True):
        laughs += f", {name}: &{name} [{', '.join([f'*{last}'] * 10)}]"
    text = FILES[PATH].decode().replace("params:\n      epochs: 3", f"params: {laughs}}}", 1)
    found = read_own_file(PATH, text.encode(), OWN)
    assert "&a" in text
    assert found is not None
    assert found.record is None


def first(status: dict[str, Any], task: str = "train") -> dict[str, Any]:
    entry: dict[str, Any] = next(e for e in status["history"] if e["task"] == task)
    return entry


WRONG: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("a metric is text", lambda s: first(s)["metrics"].update(accuracy="high")),
    ("a metric is no number", lambda s: first(s)["metrics"].update(accuracy=float("nan"))),
    ("a key is short", lambda s: first(s).update(key="abc")),
    ("a key has a line break", lambda s: first(s).update(key="a" * 40 + "\n")),
    ("a time is out of the calendar", lambda s: first(s).update(finished="0001-01-01T00:00:00Z")),
    ("an entry is of a task that runs", lambda s: first(s).update(phase="Running")),
    ("an entry is text", lambda s: s["history"].__setitem__(1, "x")),
    ("an image key is none", lambda s: first(s).update(imageKey="x")),
]


@pytest.mark.parametrize(("what", "change"), WRONG, ids=[what for what, _ in WRONG])
def test_an_entry_that_is_wrong_is_as_if_it_were_not_there(
    what: str, change: Callable[[dict[str, Any]], object]
) -> None:
    found, before = edited(change), WORLD.records[model("a")]
    assert found.record is not None
    assert len(found.record.history) == len(before.history) - 1
    assert replace(found.record, history=before.history) == before
    (fault,) = found.faults
    assert (fault.location.file, fault.field[:15]) == (PATH, "status.history[")


@pytest.mark.parametrize(
    ("field", "value"),
    [("tasks", 5), ("artifact", []), ("source", {}), ("manifest", "x"), ("conditions", {"a": 1})],
)
def test_a_field_that_is_wrong_is_as_if_it_were_not_there(field: str, value: Any) -> None:
    found = edited(lambda status: status.update({field: value}))
    before, nothing = (
        WORLD.records[model("a")],
        ObjectStatus(ref=model("a"), phase=WORLD.phase("a")),
    )
    assert found.record is not None
    assert found.record == replace(before, **{field: getattr(nothing, field)})
    assert [fault.field for fault in found.faults] == [f"status.{field}"]


def test_only_interruptions_of_runs_are_taken_for_runs_that_are_being_ended() -> None:
    entry = {"task": "train", "key": "c" * 40, "phase": "Interrupted", "cost": 1.5}
    endings = [
        {"job": "r-a-t-1", "entry": entry},
        {"job": "../r-a-t-1", "entry": entry},
        {"job": "r-a-t-2", "entry": {**entry, "phase": "Succeeded"}},
        {"job": "r-a-t-3", "entry": {**entry, "cost": -1}},
    ]
    found = edited(lambda status: status.update(ending=endings))
    assert found.record is not None
    assert [(e.job, e.entry.cost) for e in found.record.ending] == [
        ("r-a-t-1", 1.5),
        ("r-a-t-3", 0),
    ]
    assert len(found.faults) == 3


HERE = first(load_yaml(PATH, FILES[PATH])["status"])
KEY = HERE["key"]
OTHER = "c" * 40


@pytest.mark.parametrize(
    "url",
    [
        f"s3://stolen/clusters/local/namespaces/default/models/a/{KEY}/",
        f"{BUCKET}-evil/clusters/local/namespaces/default/models/a/{KEY}/",
        f"{BUCKET}/clusters/other/namespaces/default/models/a/{KEY}/",
        f"{BUCKET}/clusters/local/namespaces/other/models/a/{KEY}/",
        f"{BUCKET}/clusters/local/namespaces/default/models/a/{OTHER}/",
        f"{BUCKET}/clusters/local/namespaces/default/models/../../other/models/a/{KEY}/",
        f"{BUCKET}/clusters/local/namespaces/default/models/a/{KEY}/..",
        f"{BUCKET}/clusters/local/namespaces/default/",
        "file:///etc/",
    ],
)
def test_an_artifact_elsewhere_is_taken_for_lost(url: str) -> None:
    found = edited(lambda status: first(status).update(artifact=url))
    assert found.record is not None
    ledger = Ledger()
    ledger.learn_record(found.record)
    assert ledger.result(TaskKey(KEY)) is None
    assert TaskKey(KEY) in ledger.losses
    assert [fault.message for fault in found.faults] == [
        "no artifact of this object and key is there"
    ]


def test_the_result_of_an_evaluation_is_believed_in_its_own_folder_alone() -> None:
    folder = f"{BUCKET}/clusters/local/namespaces/default/models/a"
    key = TaskKey("a" * 40)
    result, artifact = f"{folder}/evaluations/{key}/", f"{folder}/{key}/"
    assert OWN.is_artifact(result, "default", key, TaskKind.EVALUATE)
    assert OWN.is_log(f"{result}logs/attempt-1.log", "default")
    assert not OWN.is_artifact(result, "default", key, TaskKind.TRAIN)
    assert not OWN.is_artifact(artifact, "default", key, TaskKind.EVALUATE)


def test_the_artifact_of_a_former_name_is_believed() -> None:
    url = f"{BUCKET}/clusters/local/namespaces/default/datasets/former/{KEY}/"
    assert not edited(lambda status: first(status).update(artifact=url)).faults


@pytest.mark.parametrize(
    "image",
    [
        f"evil.test/models/default@sha256:{EVIL}",
        f"registry.test/models/default/deeper@sha256:{EVIL}",
        f"registry.test/models-evil/default@sha256:{EVIL}",
        f"registry.test/other@sha256:{EVIL}",
        f"ok.test/image@sha256:{EVIL}",
        "registry.test/models/default:latest",
        "file:///etc",
        "",
    ],
)
def test_a_built_image_elsewhere_is_taken_for_lost(image: str) -> None:
    found = edited(lambda status: first(status, "build").update(image=image))
    assert found.record is not None
    ledger = Ledger()
    ledger.learn_record(found.record)
    key = TaskKey(first(load_yaml(PATH, FILES[PATH])["status"], "build")["key"])
    assert ledger.result(key) is None
    assert found.faults


@pytest.mark.parametrize(
    ("image", "key"),
    [
        (f"evil.test/models/default@sha256:{EVIL}", f"sha256:{EVIL}"),
        (f"ok.test/image@sha256:{EVIL}", f"sha256:{'5' * 64}"),
        (f"ok.test/image@sha256:{EVIL}", OTHER),
        ("ok.test/image:latest", f"sha256:{EVIL}"),
    ],
)
def test_an_image_that_an_artifact_cannot_have_been_made_in_is_not_believed(
    image: str, key: str
) -> None:
    found = edited(lambda status: first(status).update(image=image, imageKey=key))
    assert found.record is not None
    assert all(entry.image != image for entry in found.record.history)
    assert found.faults


def test_the_local_engine_s_images_are_those_of_their_key() -> None:
    own = OwnCluster(
        cluster="local", image_folder="file:///root/images", run_folder="file:///root/runs"
    )
    assert own.is_built_image(f"file:///root/images/{KEY}", KEY)
    assert not own.is_built_image(f"file:///root/images/{OTHER}", KEY)
    assert not own.is_built_image(f"file:///root/images/../{KEY}", KEY)
    assert own.is_log("file:///root/runs/r-a/logs/attempt-1.log", "default")
    assert not own.is_log("file:///root/runs/../secret/attempt-1.log", "default")


@pytest.mark.parametrize("log", ["file:///etc/attempt-1.log", f"{BUCKET}/x/attempt-1.log", "x"])
def test_a_log_elsewhere_is_not_read(log: str) -> None:
    found = edited(lambda status: status["tasks"][0].update(log=log))
    assert found.record is not None
    assert found.record.tasks[0].log is None
    assert found.faults


def test_a_sync_file_that_is_none_counts_as_missing() -> None:
    sync = Sync(cluster="local", instance="default", path="", head=HEAD, observed=START)
    assert read_own_sync(dump_sync(sync)) == (sync, ())
    for data in (b"x", b"", b"\xff", b"{}", dump_sync(sync).replace(HEAD.encode(), b"zz")):
        found, faults = read_own_sync(data)
        assert (found, len(faults)) == (None, 1)
    for wrong in ("\x1b[2J" + "9" * 100_000, "E U R", "ninedigit", "EUR\n"):
        found, faults = read_own_sync(dump_sync(replace(sync, currency=wrong)))
        assert (found, [fault.field for fault in faults]) == (sync, ["currency"])
    euro = replace(sync, currency="€")
    assert read_own_sync(dump_sync(euro)) == (euro, ())
    released, faults = read_own_sync(dump_sync(replace(sync, releases=("0" * 12, "x" * 10_000))))
    assert released == replace(sync, releases=("0" * 12,))
    assert len(faults) == 1


# -- any edit at all --------------------------------------------------------------------------

ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        [
            *("Succeeded", "Failed", "Interrupted", "Ready", "build", "load", "train", KEY, OTHER),
            *("Lost", "ArtifactLost", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59Z"),
            *(f"evil.test/x@sha256:{EVIL}", "file:///etc/", f"{BUCKET}/", f"sha256:{EVIL}", GIVEN),
            *(e[k] for e in [HERE] for k in ("artifact", "image", "imageKey") if k in e),
        ]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = enumerate(value) if isinstance(value, list) else ()
    named = value.items() if isinstance(value, dict) else inner
    return [each for n, v in named for each in [(*path, n), *places(v, (*path, n))]]


IMAGES = [f"evil.test/x@sha256:{EVIL}", f"ok.test/x@sha256:{EVIL}", "file:///etc", GIVEN, ""]
ARTIFACTS = ["s3://evil/", "file:///etc/", f"{BUCKET}/clusters/local/namespaces/other/{KEY}/"]
#: What an attacker would write into an entry of a history.
AIMED = st.one_of(
    st.tuples(st.just("artifact"), st.sampled_from([*ARTIFACTS, HERE["artifact"], None])),
    st.tuples(st.just("image"), st.sampled_from([*IMAGES, None])),
    st.tuples(st.just("imageKey"), st.sampled_from([f"sha256:{EVIL}", KEY, OTHER, None])),
    st.tuples(st.just("key"), st.sampled_from([KEY, OTHER, HERE["imageKey"]])),
    st.tuples(st.just("task"), st.sampled_from(["build", "load", "train"])),
    st.tuples(st.just("phase"), st.sampled_from(["Succeeded", "Failed", "Interrupted"])),
)


@st.composite
def branches(draw: st.DrawFn) -> dict[str, bytes]:
    """The files of a branch, with some values replaced by any others, and some files."""
    files = dict(FILES)
    for path in draw(st.lists(st.sampled_from(sorted(files)), min_size=1, max_size=2)):
        if draw(st.integers(0, 9)) == 0:
            files[path] = draw(st.binary(max_size=50))
            continue
        document = copy.deepcopy(load_yaml(path, FILES[path]))
        for entry in document["status"]["history"]:
            for name, value in draw(st.lists(AIMED, max_size=2)):
                entry[name] = value
        for _ in range(draw(st.integers(0, 2))):
            place = draw(st.sampled_from(places(document)))
            inner = document
            for name in place[:-1]:
                inner = inner[name]
            inner[place[-1]] = draw(ANY)
            if not places(document):
                break
        try:
            files[path] = dump_yaml(document)
        except (ValueError, TypeError):
            files[path] = repr(document).encode("utf-8", "replace")
    return files


def known_images(world: World) -> set[str]:
    built = (e.image for r in WORLD.records.values() for e in r.history if e.task.value == "build")
    return {GIVEN, *(image for image in built if image is not None)}


@given(branches())
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_on_the_branch_nothing_else_is_run_or_mounted(files: dict[str, bytes]) -> None:
    world = World(dict(WORLD.files), settings=WORLD.settings, now=WORLD.now)
    for path, data in files.items():
        found = read_own_file(path, data, OWN)
        assert found is not None
        assert found.ref == object_of_path(path)
        if found.record is not None:
            assert found.record.ref == found.ref
            world.records[found.ref] = found.record
            world.ledger.learn_record(found.record)
            again = read_own_file(path, dump_record(found.record), OWN)
            assert again is not None
            assert again.record == found.record
    # As after a restart, with new versions that use what the branch names.
    world.settings = replace(world.settings, guard_tasks=1000)
    world.files |= {
        "a.yaml": world.files["a.yaml"].replace("epochs: 5", "epochs: 6"),
        "b.yaml": world.files["b.yaml"].replace("epochs: 3", "epochs: 4"),
        "c.yaml": world.files["c.yaml"].replace("epochs: 4", "epochs: 5"),
        "e.yaml": scratch("e", ", dataset: {name: d}"),
    }
    for _ in range(8):
        plan = world.sync()
        for spec in plan.creates():
            assert spec.image is None or spec.image in known_images(world) or _is_new(spec.image)
            for mounted in (spec.base, spec.dataset):
                if mounted is not None:
                    where = f"{BUCKET}/clusters/local/namespaces/default/"
                    assert mounted.url.startswith(where)
                    assert mounted.url.rstrip("/").endswith(mounted.key)
                    assert ".." not in mounted.url
        for name in world.live():
            succeed(world, name)
    sync = Sync(cluster="local", instance="default", path="", head=HEAD, observed=START)
    Readme(Shards()).render(sync, world.records, Phases(world.records.values()))
    for record in world.records.values():
        dump_record(record)


def _is_new(image: str) -> bool:
    return image.startswith("registry.test/models/default@sha256:")
