"""A bucket of the test cluster's object store, mounted by rclone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace

#: The wrapper waits less between two looks than it would for a store far away.
BRISK = {"RECONCILER_POLL": "0.2", "RECONCILER_SETTLE": "1"}


def rclone_bucket(
    cluster: NodeCluster, namespace: Namespace, *, endpoint: str = "", **more: Any
) -> dict[str, Any]:
    """The configuration of a bucket of the namespace's own, with its Secret made.

    ``endpoint`` is another way to the store than straight to it.
    """
    s3 = cluster.s3
    config = (
        "[store]\ntype = s3\nprovider = Other\n"
        f"endpoint = {endpoint or s3.endpoint}\naccess_key_id = {s3.access_key}\n"
        f"secret_access_key = {s3.secret_key}\n"
    )
    secret = {"metadata": {"name": "store"}, "stringData": {"rclone.conf": config}}
    cluster.api.create(f"/api/v1/namespaces/{namespace.name}/secrets", secret)
    url = f"s3://{s3.bucket}/{namespace.name}"
    return {"url": url, "driver": "rclone", "remote": "store", "secret": "store", **more}


def folder_of(cluster: NodeCluster, url: str) -> Path:
    """Where the store keeps what has this URL."""
    return cluster.s3.folder / url.removeprefix("s3://")


def brisk_template(**spec: Any) -> dict[str, Any]:
    """A pod template with which the wrapper is brisk; ``spec`` is more of its spec."""
    env = [{"name": name, "value": value} for name, value in BRISK.items()]
    return {"spec": {**spec, "containers": [{"name": "main", "env": env}]}}
