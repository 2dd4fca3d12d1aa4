"""What is wrong with a cluster's configuration is told by its key, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reconciler.config import ConfigError
from tests.engines.kubernetes.specs import settings_of


def wrong(folder: Path, **sections: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        settings_of(folder, **sections)
    return str(caught.value)


@pytest.mark.parametrize(
    ("bucket", "message"),
    [
        ({"url": "ftp://a/b"}, "buckets.default.url: no driver is for ftp://; add driver: rclone"),
        ({"url": "s3://a", "driver": "gcsfuse"}, "buckets.default.driver: gcsfuse mounts gs://"),
        ({"url": "s3://a", "writes": "direct"}, "buckets.default.writes: mountpoint-s3 can only"),
        ({"url": "gs://a", "secret": "x"}, "buckets.default.secret: means nothing to gcsfuse"),
        ({"url": "pvc://a", "remote": "x"}, "buckets.default.remote: means nothing to pvc"),
    ],
)
def test_a_bucket_that_no_driver_mounts(
    tmp_path: Path, bucket: dict[str, Any], message: str
) -> None:
    assert message in wrong(tmp_path, buckets={"default": bucket})


def test_signatures_are_of_the_local_engine(tmp_path: Path) -> None:
    bucket = {"url": "s3://a", "verify": "signature"}
    told = wrong(tmp_path, buckets={"default": bucket}, signing={"publicKeyFiles": ["key.pub"]})
    assert "buckets.default.verify: signature is of the local engine" in told
    told = wrong(tmp_path, signing={"keyFile": "key.pem"})
    assert "signing.keyFile: nothing is signed on a cluster" in told


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ({"containers": []}, "kubernetes.profiles.p.containers: expected metadata and spec"),
        ({"spec": {"restartPolicy": "Always"}}, "p.spec.restartPolicy: is the reconciler's to say"),
        (
            {"spec": {"containers": [{"name": "main", "command": ["x"]}]}},
            "p.spec.containers.main.command: is the manifest's to say",
        ),
        ({"spec": {"containers": [{"image": "x"}]}}, "p.spec.containers[0]: expected a mapping"),
        ({"spec": {"volumes": {"name": "x"}}}, "p.spec.volumes: expected a list"),
        (
            {"metadata": {"labels": {"substratus.ai/key": "x"}}},
            "p.metadata.labels.substratus.ai/key: is the reconciler's to say",
        ),
        ({"metadata": {"name": "x"}}, "p.metadata.name: expected labels and annotations"),
    ],
)
def test_a_template_that_would_break_a_run(
    tmp_path: Path, template: dict[str, Any], message: str
) -> None:
    assert message in wrong(tmp_path, kubernetes={"profiles": {"p": template}})


def test_a_certificate_file_that_is_not_there(tmp_path: Path) -> None:
    assert "tls.caFile: cannot be read" in wrong(tmp_path, tls={"caFile": "none.pem"})


def test_a_certificate_file_that_no_annotation_holds(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("x" * (65 << 10))
    assert "tls.caFile: has 66560 bytes" in wrong(tmp_path, tls={"caFile": "ca.pem"})


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    told = wrong(
        tmp_path,
        buckets={"default": {"url": "s3://a", "writes": "direct", "secret": "x"}},
        kubernetes={"templates": {"build": {"spec": {"hostname": "x"}}}},
    )
    assert len(told.splitlines()) == 3
