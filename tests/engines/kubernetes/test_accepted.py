"""What is rendered is accepted by a real API server, for every driver and kind of run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reconciler.engines.kubernetes.job import render
from tests.cluster.api import ApiError
from tests.cluster.cluster import Cluster
from tests.engines.kubernetes.specs import settings_of
from tests.specs import train

GOLDEN = sorted((Path(__file__).resolve().parents[2] / "golden" / "kubernetes").glob("*.yaml"))


@pytest.mark.parametrize("file", GOLDEN, ids=[file.stem for file in GOLDEN])
def test_the_golden_objects_are_accepted(control_plane: Cluster, file: Path) -> None:
    told = control_plane.kubectl(
        "create", "--dry-run=server", "--validate=strict", "--filename", str(file)
    )
    assert "job.batch/" in told
    assert told.count("created (server dry run)") == len(told.splitlines())


BUCKETS: dict[str, dict[str, Any]] = {
    "gcsfuse": {"url": "gs://bucket"},
    "mountpoint-s3": {"url": "s3://bucket"},
    "azure-blob": {"url": "az://account/container", "driver": "azure-blob"},
    "pvc": {"url": "pvc://claim/models"},
    "hostpath": {"url": "file:///srv/models"},
    "rclone": {"url": "s3://bucket/models", "driver": "rclone", "secret": "store"},
}


@pytest.mark.parametrize("driver", BUCKETS)
def test_every_driver_s_pods_and_volumes_are_accepted(
    control_plane: Cluster, driver: str, tmp_path: Path
) -> None:
    bucket = BUCKETS[driver]
    settings = settings_of(tmp_path, buckets={"default": bucket})
    root = f"{bucket['url']}/clusters/c/namespaces/default/models"
    objects = render(train(output=f"{root}/m/{'a' * 40}/", base=None, dataset=None), settings)
    told = control_plane.kubectl(
        "create", "--dry-run=server", "--validate=strict", "--filename=-",
        given=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}),
    )  # fmt: skip
    assert told.count("created (server dry run)") == len(objects)


@pytest.mark.parametrize("less", [{}, {"capabilities": {"add": ["SYS_ADMIN"]}}])
def test_nothing_less_than_privileged_may_hand_a_mount_on(
    control_plane: Cluster, tmp_path: Path, less: dict[str, Any]
) -> None:
    bucket = BUCKETS["rclone"]
    settings = settings_of(tmp_path, buckets={"default": bucket})
    output = f"{bucket['url']}/clusters/c/namespaces/default/models/m/{'a' * 40}/"
    job, *_ = render(train(output=output, base=None, dataset=None), settings)
    containers = job["spec"]["template"]["spec"]["initContainers"]
    (sidecar,) = [c for c in containers if c["name"] == "rclone-artifact"]
    sidecar["securityContext"] = less
    with pytest.raises(ApiError, match="available only to privileged containers"):
        control_plane.api.create("/apis/batch/v1/namespaces/default/jobs?dryRun=All", job)
