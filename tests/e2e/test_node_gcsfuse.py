"""Buckets of Cloud Storage by a real gcsfuse, with the options that the product gives it.

A stand-in for Google's CSI driver takes the volumes (``tests/cluster/go/gcsfuse``), and a server
that speaks Google's API keeps the objects. Neither the driver's sidecar nor its account is here.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

import pytest

from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.e2e.fuse_buckets import (
    ENDLESS,
    end_commands,
    failure,
    finetune,
    fuse_site,
    kill_all,
    lose_its_mount,
    saved,
    train_and_finetune,
)
from tests.e2e.node_site import NodeSite, daemon, program, until
from tests.e2e.rclone_bucket import brisk_template
from tests.reverse_proxy import Answer, ReverseProxy

_WRITES = ("direct", "staged")
#: gcsfuse waits a second, and then twice as long as before, between two tries.
_REFUSALS = 3


class GcsBucket:
    """A bucket of a test's own, which is there once it is made."""

    def __init__(self, cluster: NodeCluster, namespace: Namespace, name: str = "models") -> None:
        self.name = f"{name}-{namespace.name[-8:]}"
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
    granted = threading.Event()

    def refused(method: str, path: str) -> Answer | None:
        return None if granted.is_set() or method == "GET" else _answer(403)

    buckets = _buckets(gcs_cluster, gcs_namespace)
    for bucket in buckets.values():
        bucket.make()
    with _proxy(gcs_cluster, refused) as proxy:
        site = _site_of_both(tmp_path, gcs_namespace, gcs_cluster, buckets, proxy)
        _write_both(site, "")
        with daemon(site):
            _fail_both(site)
            assert all(bucket.names() == [] for bucket in buckets.values())
            granted.set()
            _recover_both(site)


def test_a_training_begins_once_its_bucket_is_there(
    tmp_path: Path, gcs_namespace: Namespace, gcs_cluster: NodeCluster
) -> None:
    buckets = _buckets(gcs_cluster, gcs_namespace)
    site = _site_of_both(tmp_path, gcs_namespace, gcs_cluster, buckets)
    _write_both(site, "")
    with daemon(site):
        _fail_both(site)
        for bucket in buckets.values():
            bucket.make()
        _recover_both(site)


def test_a_base_that_may_not_be_read_is_not_made_again(
    tmp_path: Path, gcs_namespace: Namespace, gcs_cluster: NodeCluster
) -> None:
    revoked, granted = threading.Event(), threading.Event()

    def refused(method: str, path: str) -> Answer | None:
        reads = method == "GET" and "/models/base/" in path
        return _answer(403) if reads and revoked.is_set() and not granted.is_set() else None

    bucket = GcsBucket(gcs_cluster, gcs_namespace)
    bucket.make()
    with _proxy(gcs_cluster, refused) as proxy:
        options = [_endpoint(proxy)]
        site = _site(tmp_path, gcs_namespace, gcs_cluster, bucket, mountOptions=options)
        program(site, "base", "")
        site.push()
        with daemon(site):
            site.ready("base")
            revoked.set()
            finetune(site)
            site.push()
            until(lambda: failure(site, "tuned") is not None, what="the refusal")
            assert site.statuses()["tuned"]["message"].startswith("the base cannot be read: ")
            granted.set()
            tuned, base = site.ready("tuned"), site.ready("base")
    assert [entry.get("reason") for entry in tuned["history"]] == ["BucketFailed", None]
    assert len(base["history"]) == 1


def test_a_store_that_is_busy_in_the_middle_costs_no_attempt(
    tmp_path: Path, gcs_namespace: Namespace, gcs_cluster: NodeCluster
) -> None:
    refusals = dict.fromkeys(_WRITES, 0)

    def busy(method: str, path: str) -> Answer | None:
        for writes, bucket in buckets.items():
            if f"/b/{bucket.name}/" in path and method != "GET" and refusals[writes] < _REFUSALS:
                if not saved(bucket, staged=writes == "staged"):
                    return None
                refusals[writes] += 1
                return _answer(503 if writes == "direct" else 429)
        return None

    buckets = _buckets(gcs_cluster, gcs_namespace)
    for bucket in buckets.values():
        bucket.make()
    with _proxy(gcs_cluster, busy) as proxy:
        site = _site_of_both(tmp_path, gcs_namespace, gcs_cluster, buckets, proxy)
        _write_both(site, ENDLESS)
        with daemon(site):
            until(lambda: set(refusals.values()) == {_REFUSALS}, what="refusals")
            assert set(site.statuses()) == {"direct", "staged"}
            end_commands(site)
            for name in _WRITES:
                status = site.ready(name)
                assert status["tasks"][0]["attempts"] == 1
                url = status["artifact"]["url"]
                assert buckets[name].text(f"{url}weights") == "of attempt 1"
    # Nothing of ours is renamed: in this store that would be a copy and a removal.
    assert not [path for _, path, _ in proxy.calls if "/rewriteTo/" in path or "/moveTo/" in path]


def _buckets(cluster: NodeCluster, namespace: Namespace) -> dict[str, GcsBucket]:
    """One for each way of writes, not made yet."""
    return {writes: GcsBucket(cluster, namespace, writes) for writes in _WRITES}


def _site_of_both(
    root: Path,
    namespace: Namespace,
    cluster: NodeCluster,
    buckets: Mapping[str, GcsBucket],
    proxy: ReverseProxy | None = None,
) -> NodeSite:
    """A site whose Models are written directly, and whose Datasets are staged."""
    options = [_endpoint(proxy)] if proxy is not None else []
    sections = {
        writes: {"url": bucket.url, "writes": writes, "sync": "2s", "mountOptions": options}
        for writes, bucket in buckets.items()
    }
    site = fuse_site(root, namespace, cluster, sections["direct"])
    site.configure(
        buckets={"datasets": sections["staged"]},
        kubernetes={"templates": {kind: brisk_template() for kind in ("load", "train")}},
    )
    return site


def _write_both(site: NodeSite, code: str) -> None:
    """Push a Model ``direct`` and a Dataset ``staged``, which run this Python."""
    program(site, "direct", code)
    source = {"image": {"ref": site.cluster.images["python"]}}
    spec = {"source": source, "load": {"command": ["python3", "-c", code]}}
    manifest = {"kind": "Dataset", "metadata": {"name": "staged"}, "spec": spec}
    site.write("staged.yaml", json.dumps(manifest))
    site.push()


def _fail_both(site: NodeSite) -> None:
    for name in _WRITES:
        until(partial(failure, site, name), what=f"{name} to fail")
        assert failure(site, name) == "Infrastructure"


def _recover_both(site: NodeSite) -> None:
    for name in _WRITES:
        history = site.ready(name)["history"]
        assert {entry.get("reason") for entry in history} == {"BucketFailed", None}


def _answer(code: int) -> Answer:
    body = json.dumps({"error": {"code": code, "message": f"an answer of {code}"}}).encode()
    return code, {"Content-Type": "application/json"}, body


def _proxy(
    cluster: NodeCluster, instead: Callable[[str, str], Answer | None]
) -> AbstractContextManager[ReverseProxy]:
    """A way to the store on which ``instead`` may answer."""
    behind = urlsplit(cluster.gcs).netloc
    return closing(ReverseProxy(behind, instead, cluster.address, behind))


def _endpoint(proxy: ReverseProxy) -> str:
    return f"custom-endpoint={proxy.endpoint}/storage/v1/"
