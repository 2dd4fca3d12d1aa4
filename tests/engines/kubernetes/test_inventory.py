"""What is complete in a bucket: the Job that looks, what it prints, and what is made of that."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine import Result, ResultWarning, Wanted
from reconciler.engines.kubernetes.inventory import (
    Folder,
    folders,
    read_inventory,
    render_inventory,
)
from reconciler.engines.local.marker import write_marker
from reconciler.types import TaskKey, TaskKind
from tests.engines.kubernetes.conftest import MakeContainer
from tests.engines.kubernetes.container import write_tree
from tests.engines.kubernetes.specs import check_schema, settings_of

ONE, TWO = TaskKey("1" * 40), TaskKey("2" * 40)
URL = "gs://models/prod/clusters/local/namespaces/team"


def wanted(key: TaskKey, place: str = "models/a", url: str = URL) -> Wanted:
    return Wanted(TaskKind.TRAIN, key, f"{url}/{place}/{key}/")


def folder(*items: Wanted) -> Folder:
    (found,) = folders(items)
    return found


WARNING = ResultWarning("MetricsIgnored", '"a"')


def complete(
    bucket: Path,
    place: str,
    *,
    key: str,
    metrics: dict[str, float],
    warnings: Sequence[ResultWarning] = (),
) -> Path:
    artifact = bucket / place
    write_tree(artifact, {"weights": b"123", "checkpoints/1": b"", "logs/attempt-1.log": b"x"})
    now = datetime.now(UTC)
    write_marker(
        artifact, key=key, lineage={}, metrics=metrics, warnings=warnings,
        started=now, finished=now, gpu_seconds=7.5, attempt=1,
    )  # fmt: skip
    return artifact


def test_the_markers_that_hold_are_told_and_no_others(pod: MakeContainer) -> None:
    container = pod(env={"RECONCILER_INVENTORY": "1"})
    bucket = container.bucket
    complete(bucket, f"models/a/{ONE}", key=ONE, metrics={"loss": 0.5, "é": 1e-9})
    complete(bucket, f"datasets/b/{TWO}", key=TWO, metrics={}, warnings=[WARNING])
    (complete(bucket, f"models/cut/{ONE}", key=ONE, metrics={}) / "weights").write_bytes(b"1")
    (complete(bucket, f"models/more/{ONE}", key=ONE, metrics={}) / "more").write_bytes(b"1")
    complete(bucket, f"models/other/{ONE}", key=TWO, metrics={})
    complete(bucket, f"models/Not Ours/{ONE}", key=ONE, metrics={})
    complete(bucket, f"models/deep/er/{ONE}", key=ONE, metrics={})
    write_tree(
        bucket, {f"models/half/{ONE}/weights": b"1", f"models/bad/{ONE}/completed.json": b""}
    )
    before = sorted(bucket.rglob("*"))
    ended = container.run()
    assert ended.code == 0, ended.output
    assert ended.output.decode().splitlines() == [
        f'datasets/b/{TWO} 7.5 [{{}}, [{{"reason": "MetricsIgnored", "message": "\\"a\\""}}]]',
        f'models/a/{ONE} 7.5 [{{"loss": 0.5, "é": 1e-09}}, []]',
    ]
    assert sorted(bucket.rglob("*")) == before
    looked_for = folder(wanted(ONE), wanted(TWO, "datasets/b"), wanted(TWO))
    assert read_inventory(ended.output, looked_for) == {
        ONE: Result(
            url=f"{URL}/models/a/{ONE}/", metrics={"loss": 0.5, "é": 1e-9}, gpu_seconds=7.5
        ),
        TWO: Result(url=f"{URL}/datasets/b/{TWO}/", gpu_seconds=7.5, warnings=(WARNING,)),
    }


def test_a_bucket_in_which_nothing_is_has_nothing(pod: MakeContainer) -> None:
    container = pod(env={"RECONCILER_INVENTORY": "1"})
    container.bucket.mkdir(parents=True, exist_ok=True)
    ended = container.run()
    assert (ended.code, ended.output) == (0, b"")


@given(st.binary() | st.text().map(lambda text: f"models/a/{ONE} {text}".encode()))
def test_a_log_may_hold_anything(text: bytes) -> None:
    for result in read_inventory(text, folder(wanted(ONE))).values():
        assert result.url == f"{URL}/models/a/{ONE}/"


@pytest.mark.parametrize(
    "line",
    [
        "inf [{}, []]",
        "-1 [{}, []]",
        "nan [{}, []]",
        "1",
        "1 []",
        '1 {"a": 1}',
        "1 [{}, []] more",
        "x [{}, []]",
    ],
)
def test_a_line_that_no_wrapper_prints_counts_for_nothing(line: str) -> None:
    assert read_inventory(f"models/a/{ONE} {line}\n".encode(), folder(wanted(ONE))) == {}


def test_each_namespace_of_each_bucket_has_an_inventory() -> None:
    other = "s3://data/clusters/local/namespaces/team"
    found = folders(
        [
            wanted(ONE),
            wanted(TWO),
            wanted(ONE, "datasets/b", other),
            Wanted(TaskKind.BUILD, ONE, None),
        ]
    )
    assert [(each.url, each.namespace, len(each.wanted)) for each in found] == [
        (URL, "team", 2),
        (other, "team", 1),
    ]


@pytest.mark.parametrize(
    "bucket",
    [
        {"url": "gs://models/prod"},
        {"url": "s3://models/prod"},
        {"url": "az://models/prod", "attributes": {"storageAccount": "a"}},
        {"url": "pvc://models/prod"},
        {"url": "file:///models/prod"},
        {"url": "b2://models/prod", "driver": "rclone"},
    ],
    ids=lambda bucket: bucket["url"],
)
def test_the_job_is_valid_reads_only_and_may_do_nothing(
    tmp_path: Path, bucket: dict[str, object]
) -> None:
    settings = settings_of(
        tmp_path,
        buckets={"default": bucket},
        kubernetes={"templates": {"inventory": {"spec": {"priorityClassName": "low"}}}},
    )
    url = f"{bucket['url']}/clusters/local/namespaces/team"
    objects = render_inventory(folder(wanted(ONE, url=url)), settings)
    assert objects is not None
    check_schema(objects)
    job = objects[0]
    assert job["metadata"]["labels"]["substratus.ai/task"] == "inventory"
    assert "substratus.ai/key" not in job["metadata"]["labels"]
    pod = job["spec"]["template"]["spec"]
    assert pod["priorityClassName"] == "low"
    (main,) = pod["containers"]
    assert main["securityContext"]["runAsNonRoot"]
    assert main["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    mounts = [m for m in main["volumeMounts"] if m["mountPath"].startswith("/bucket")]
    assert [mount["readOnly"] for mount in mounts] == [True]


def test_an_inventory_may_pull_its_images_with_the_registrys_secret(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, registry={"url": "registry.test/models", "secret": "pull"})
    objects = render_inventory(folder(wanted(ONE)), settings)
    assert objects is not None
    check_schema(objects)
    pod = objects[0]["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "pull"}]


def test_a_bucket_may_be_left_out(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path, buckets={"default": {"url": "gs://models/prod", "inventory": False}}
    )
    assert render_inventory(folder(wanted(ONE)), settings) is None
