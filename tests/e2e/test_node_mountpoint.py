"""Buckets of S3 by a real Mountpoint behind its own CSI driver, as the product makes its volumes.

The driver allows staged writes alone. See ``tests/cluster/mountpoint.py`` for what stands in here.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.cluster.mountpoint import ACCOUNT
from tests.e2e.fuse_buckets import (
    BASE,
    ENDLESS,
    end_commands,
    failure,
    fuse_site,
    kill_all,
    lose_its_mount,
    saved,
    train_and_finetune,
)
from tests.e2e.node_site import NodeSite, daemon, program, until
from tests.e2e.store_proxy import store_proxy

_READ = ("s3:GetObject", "s3:ListBucket")
_ALL = "s3:*"
_REFUSALS = 3
#: It opens neither a bucket nor an object.
_NONE = "s3:GetBucketTagging"


class S3Bucket:
    """A bucket of a test's own, which is there once it is made."""

    def __init__(self, cluster: NodeCluster, namespace: Namespace) -> None:
        self.name = f"models-{namespace.name[-8:]}"
        self.url = f"s3://{self.name}/prod"
        self._folder = cluster.s3.folder / self.name

    def make(self, *actions: str) -> None:
        """Make it, and let the driver do this; everything where nothing is named."""
        self._folder.mkdir()
        self.allow(*(actions or [_ALL]))

    def names(self) -> list[str]:
        """The names of its objects."""
        # Uploads come and go below .sgwtmp; os.walk takes no offence at that.
        files = [Path(folder, name) for folder, _, names in os.walk(self._folder) for name in names]
        names = [str(file.relative_to(self._folder)) for file in files]
        return [name for name in names if not name.startswith(".sgwtmp/")]

    def text(self, url: str) -> str:
        """The content of an object."""
        return (self._folder / url.removeprefix(f"s3://{self.name}/")).read_text()

    def allow(self, *actions: str) -> None:
        """Let the driver do this alone, by the bucket's policy where the server looks for it."""
        names = [f"arn:aws:s3:::{self.name}", f"arn:aws:s3:::{self.name}/*"]
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": [ACCOUNT]},
            "Action": actions,
            "Resource": names,
        }
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        os.setxattr(self._folder, "user.policy", json.dumps(policy).encode())


def _site(
    root: Path,
    namespace: Namespace,
    cluster: NodeCluster,
    bucket: S3Bucket,
    *,
    endpoint: str | None = None,
    **more: Any,
) -> NodeSite:
    endpoint = endpoint or cluster.s3.endpoint
    options = ["region us-east-1", f"endpoint-url {endpoint}", "force-path-style"]
    section = {"url": bucket.url, "mountOptions": options, **more}
    return fuse_site(root, namespace, cluster, section)


def test_a_base_is_trained_and_finetuned(
    tmp_path: Path, mountpoint_namespace: Namespace, mountpoint_cluster: NodeCluster
) -> None:
    bucket = S3Bucket(mountpoint_cluster, mountpoint_namespace)
    site = _site(tmp_path, mountpoint_namespace, mountpoint_cluster, bucket)
    marker = train_and_finetune(site, bucket)
    assert all("sha256" in file for file in marker["files"])


def test_a_killed_mount_costs_an_attempt_and_finishes_nothing(
    tmp_path: Path, mountpoint_namespace: Namespace, mountpoint_cluster: NodeCluster
) -> None:
    bucket = S3Bucket(mountpoint_cluster, mountpoint_namespace)
    site = _site(tmp_path, mountpoint_namespace, mountpoint_cluster, bucket, sync="2s")

    def kill() -> bool:
        return kill_all(lambda command: command[:2] == ["/usr/bin/mount-s3", bucket.name])

    lose_its_mount(site, bucket, kill, staged=True)


def test_a_training_waits_for_the_right_to_write(
    tmp_path: Path, mountpoint_namespace: Namespace, mountpoint_cluster: NodeCluster
) -> None:
    bucket = S3Bucket(mountpoint_cluster, mountpoint_namespace)
    bucket.make(*_READ)
    site = _site(tmp_path, mountpoint_namespace, mountpoint_cluster, bucket)
    program(site, "m", BASE)
    site.push()
    with daemon(site):
        until(lambda: failure(site) is not None, what="the refusal")
        assert failure(site) == "Infrastructure"
        assert bucket.names() == []
        bucket.allow(_ALL)
        status = site.ready("m")
    assert {entry.get("reason") for entry in status["history"]} == {"BucketFailed", None}


def test_a_store_that_is_busy_in_the_middle_costs_no_attempt(
    tmp_path: Path, mountpoint_namespace: Namespace, mountpoint_cluster: NodeCluster
) -> None:
    bucket = S3Bucket(mountpoint_cluster, mountpoint_namespace)
    bucket.make()

    def allowed(_path: str) -> bool:
        return len(proxy.refused) >= _REFUSALS or not saved(bucket, staged=True)

    s3, address = mountpoint_cluster.s3, mountpoint_cluster.address
    with store_proxy(s3, address, allowed, lambda _: 503) as proxy:
        site = _site(
            tmp_path, mountpoint_namespace, mountpoint_cluster, bucket,
            endpoint=proxy.endpoint, sync="2s",
        )  # fmt: skip
        program(site, "m", ENDLESS)
        site.push()
        with daemon(site):
            until(lambda: len(proxy.refused) >= _REFUSALS, what="refusals")
            end_commands(site)
            status = site.ready("m")
    assert status["tasks"][0]["attempts"] == 1
    assert bucket.text(f"{status['artifact']['url']}weights") == "of attempt 1"


@pytest.mark.parametrize("lacking", ["bucket", "right"])
def test_a_training_begins_once_its_bucket_can_be_mounted(
    tmp_path: Path,
    mountpoint_namespace: Namespace,
    mountpoint_cluster: NodeCluster,
    lacking: str,
) -> None:
    bucket = S3Bucket(mountpoint_cluster, mountpoint_namespace)
    if lacking == "right":
        bucket.make(_NONE)
    # An inventory's Job could not mount the bucket either, and is waited for.
    site = _site(tmp_path, mountpoint_namespace, mountpoint_cluster, bucket, inventory=False)
    program(site, "m", BASE)
    site.push()
    with daemon(site):
        until(lambda: _refused(mountpoint_namespace), what="the driver's refusal")
        until(lambda: _reason(site) == "PodStarting", what="the reason in the status")
        assert failure(site) is None
        if lacking == "right":
            bucket.allow(_ALL)
        else:
            bucket.make()
        status = site.ready("m")
    assert status["tasks"][0]["attempts"] == 1


def _reason(site: NodeSite) -> str | None:
    found: str | None = site.statuses().get("m", {}).get("reason")
    return found


def _refused(namespace: Namespace) -> bool:
    """Whether a pod's volume could not be mounted."""
    events = namespace.cluster.api.items(f"/api/v1/namespaces/{namespace.name}/events")
    return any(event.get("reason") == "FailedMount" for event in events)
