"""Buckets of Cloud Storage by a real gcsfuse, with the options that the product gives it.

A stand-in for Google's CSI driver takes the volumes (``tests/cluster/go/gcsfuse``), and a server
that speaks Google's API keeps the objects. Neither the driver's sidecar nor its account is here.
"""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

import pytest

from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.e2e.fuse_buckets import (
    BASE,
    failure,
    fuse_site,
    kill_all,
    lose_its_mount,
    train_and_finetune,
)
from tests.e2e.node_site import NodeSite, daemon, program, until
from tests.reverse_proxy import Answer, ReverseProxy

_WRITES = ("direct", "staged")


class GcsBucket:
    """A bucket of a test's own, which is there once it is made."""

    def __init__(self, cluster: NodeCluster, namespace: Namespace) -> None:
        self.name = f"models-{namespace.name[-8:]}"
        self.url = f"gs://{self.name}/prod"
        self._api = f"{cluster.gcs}/storage/v1/b"

    def make(self) -> None:
        body = json.dumps({"name": self.name}).encode()
        headers = {"Content-Type": "application/json"}
        urlopen(Request(f"{self._api}?project=p", body, headers), timeout=30).close()

    def names(self) -> list[str]:
        """The names of its objects; that of a folder ends with a slash."""
        with urlopen(f"{self._api}/{self.name}/o", timeout=30) as answer:
            return [item["name"] for item in json.load(answer).get("items", ())]

    def text(self, url: str) -> str:
        """The content of an object."""
        name = quote(url.removeprefix(f"gs://{self.name}/"), safe="")
        with urlopen(f"{self._api}/{self.name}/o/{name}?alt=media", timeout=30) as answer:
            found: bytes = answer.read()
        return found.decode()


def _site(
    root: Path, namespace: Namespace, cluster: NodeCluster, bucket: GcsBucket, **more: Any
) -> NodeSite:
    return fuse_site(root, namespace, cluster, {"url": bucket.url, "driver": "gcsfuse", **more})


@pytest.mark.parametrize("writes", _WRITES)
def test_a_base_is_trained_and_finetuned(
    tmp_path: Path, gcs_namespace: Namespace, gcs_cluster: NodeCluster, writes: str
) -> None:
    bucket = GcsBucket(gcs_cluster, gcs_namespace)
    site = _site(tmp_path, gcs_namespace, gcs_cluster, bucket, writes=writes)
    marker = train_and_finetune(site, bucket)
    # Staged writes are copied anyway, and hashed in the same pass.
    hashed = [file for file in marker["files"] if "sha256" in file]
    assert len(hashed) == (4 if writes == "staged" else 0)


@pytest.mark.parametrize("writes", _WRITES)
def test_a_killed_mount_costs_an_attempt_and_finishes_nothing(
    tmp_path: Path, gcs_namespace: Namespace, gcs_cluster: NodeCluster, writes: str
) -> None:
    def kill() -> bool:
        """Kill every gcsfuse of the namespace's pods."""
        pods = {str(pod["metadata"]["uid"]) for pod in gcs_cluster.api.items(gcs_namespace.pods)}
        return kill_all(
            lambda command: command[0].endswith("gcsfuse") and any(p in command[-1] for p in pods)
        )

    bucket = GcsBucket(gcs_cluster, gcs_namespace)
    site = _site(tmp_path, gcs_namespace, gcs_cluster, bucket, writes=writes, sync="2s")
    lose_its_mount(site, bucket, kill, staged=writes == "staged")


def test_a_training_waits_for_the_right_to_write(
    tmp_path: Path, gcs_namespace: Namespace, gcs_cluster: NodeCluster
) -> None:
    granted = False

    def refused(method: str, path: str) -> Answer | None:
        if granted or method == "GET":
            return None
        body = json.dumps({"error": {"code": 403, "message": "forbidden"}}).encode()
        return 403, {"Content-Type": "application/json"}, body

    bucket = GcsBucket(gcs_cluster, gcs_namespace)
    bucket.make()
    behind = urlsplit(gcs_cluster.gcs).netloc
    with closing(ReverseProxy(behind, refused, gcs_cluster.address)) as proxy:
        endpoint = f"custom-endpoint={proxy.endpoint}/storage/v1/"
        site = _site(tmp_path, gcs_namespace, gcs_cluster, bucket, mountOptions=[endpoint])
        program(site, "m", BASE)
        site.push()
        with daemon(site):
            until(lambda: failure(site) is not None, what="the refusal")
            assert failure(site) == "Infrastructure"
            assert bucket.names() == []
            granted = True
            site.ready("m")


def test_a_training_begins_once_its_bucket_is_there(
    tmp_path: Path, gcs_namespace: Namespace, gcs_cluster: NodeCluster
) -> None:
    bucket = GcsBucket(gcs_cluster, gcs_namespace)
    site = _site(tmp_path, gcs_namespace, gcs_cluster, bucket)
    program(site, "m", BASE)
    site.push()
    with daemon(site):
        until(lambda: failure(site) is not None, what="the attempt to fail")
        assert failure(site) == "Infrastructure"
        bucket.make()
        site.ready("m")
