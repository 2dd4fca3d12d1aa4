"""Buckets of Cloud Storage by a real gcsfuse, with the options that the product gives it.

A stand-in for Google's CSI driver takes the volumes (``tests/cluster/go/gcsfuse``), and a server
that speaks Google's API keeps the objects. Neither the driver's sidecar nor its account is here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

import psutil
import pytest

from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.e2e.node_site import NodeSite, daemon, program, until
from tests.e2e.rclone_bucket import brisk_template
from tests.reverse_proxy import Answer, ReverseProxy

_BASE = """\
import os
from pathlib import Path
model = Path(os.environ["MODEL_DIR"])
(model / "parts").mkdir()
(model / "parts" / "new").write_bytes(bytes(range(256)) * 20_000)
(model / "parts" / "new").rename(model / "parts" / "one")
with (model / "notes").open("a") as notes:
    notes.write("trained\\n")
"""
_TUNED = """\
import os
from pathlib import Path
base = Path(os.environ["BASE_MODEL_DIR"])
try:
    (base / "mine").write_text("x")
except OSError:
    size = (base / "parts" / "one").stat().st_size
    Path(os.environ["MODEL_DIR"], "weights").write_text(f"of {size} bytes")
"""
#: Its first attempt goes on until it cannot write, or is told to end.
_ENDLESS = """\
import os, time
from pathlib import Path
model, attempt = Path(os.environ["MODEL_DIR"]), os.environ["ATTEMPT"]
if attempt == "1":
    (model / "checkpoint").write_text("of attempt 1")
while attempt == "1" and not Path("/tmp/end").exists():
    (model / "step").write_text(str(time.time()))
    time.sleep(0.2)
(model / "weights").write_text(f"of attempt {attempt}")
"""
_WRITES = ("direct", "staged")


class Bucket:
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
        """Of its objects; of a folder it ends with a slash."""
        with urlopen(f"{self._api}/{self.name}/o", timeout=30) as answer:
            return [item["name"] for item in json.load(answer).get("items", ())]

    def text(self, url: str) -> str:
        """What an object has."""
        name = quote(url.removeprefix(f"gs://{self.name}/"), safe="")
        with urlopen(f"{self._api}/{self.name}/o/{name}?alt=media", timeout=30) as answer:
            found: bytes = answer.read()
        return found.decode()


def _site(
    root: Path, namespace: Namespace, cluster: NodeCluster, bucket: Bucket, **more: Any
) -> NodeSite:
    section = {"url": bucket.url, "driver": "gcsfuse", **more}
    site = NodeSite(root, namespace, cluster, section)
    site.configure(kubernetes={"templates": {"train": brisk_template()}})
    return site


@pytest.mark.parametrize("writes", _WRITES)
def test_a_base_is_trained_and_finetuned(
    tmp_path: Path, gcs_namespace: Namespace, gcs_cluster: NodeCluster, writes: str
) -> None:
    bucket = Bucket(gcs_cluster, gcs_namespace)
    bucket.make()
    site = _site(tmp_path, gcs_namespace, gcs_cluster, bucket, writes=writes)
    program(site, "base", _BASE)
    command = ["python3", "-c", _TUNED]
    spec = {"source": {"model": {"name": "base"}}}
    tuned = spec | {"training": {"mode": "Finetune", "command": command}}
    manifest = {"kind": "Model", "metadata": {"name": "tuned"}, "spec": tuned}
    site.write("tuned.yaml", json.dumps(manifest))
    site.push()
    with daemon(site):
        base, last = site.ready("base"), site.ready("tuned")
    marker = json.loads(bucket.text(f"{base['artifact']['url']}completed.json"))
    assert {file["path"]: file["size"] for file in marker["files"]} == {
        "notes": 8,
        "parts/one": 5_120_000,
    }
    # Staged writes are copied anyway, and hashed in the same pass.
    hashed = [file for file in marker["files"] if "sha256" in file]
    assert len(hashed) == (2 if writes == "staged" else 0)
    assert bucket.text(f"{last['artifact']['url']}weights") == "of 5120000 bytes"


@pytest.mark.parametrize("writes", _WRITES)
def test_a_killed_mount_costs_an_attempt_and_finishes_nothing(
    tmp_path: Path, gcs_namespace: Namespace, gcs_cluster: NodeCluster, writes: str
) -> None:
    bucket = Bucket(gcs_cluster, gcs_namespace)
    bucket.make()
    site = _site(tmp_path, gcs_namespace, gcs_cluster, bucket, writes=writes, sync="2s")
    program(site, "m", _ENDLESS)
    site.push()
    with daemon(site):
        until(lambda: _saved(bucket, writes), what="a checkpoint")
        assert _kill_mounts(gcs_cluster, gcs_namespace)
        if writes == "staged":  # its command sees nothing of the bucket
            (pod,) = gcs_cluster.api.items(gcs_namespace.pods)
            name = pod["metadata"]["name"]
            gcs_namespace.kubectl("exec", name, "--container=main", "--", "touch", "/tmp/end")
        until(lambda: _failure(site) is not None, what="the end of the attempt")
        assert _failure(site) == "Infrastructure"
        assert not any(name.endswith("completed.json") for name in bucket.names())
        status = site.ready("m")
    assert status["tasks"][0]["attempts"] == 2
    assert [entry.get("reason") for entry in status["history"]] == ["BucketFailed", None]
    assert bucket.text(f"{status['artifact']['url']}checkpoint") == "of attempt 1"
    assert bucket.text(f"{status['artifact']['url']}weights") == "of attempt 2"


def test_a_training_waits_for_the_right_to_write(
    tmp_path: Path, gcs_namespace: Namespace, gcs_cluster: NodeCluster
) -> None:
    granted = False

    def refused(method: str, path: str) -> Answer | None:
        if granted or method == "GET":
            return None
        body = json.dumps({"error": {"code": 403, "message": "forbidden"}}).encode()
        return 403, {"Content-Type": "application/json"}, body

    bucket = Bucket(gcs_cluster, gcs_namespace)
    bucket.make()
    behind = urlsplit(gcs_cluster.gcs).netloc
    with closing(ReverseProxy(behind, refused, gcs_cluster.address)) as proxy:
        endpoint = f"custom-endpoint={proxy.endpoint}/storage/v1/"
        site = _site(tmp_path, gcs_namespace, gcs_cluster, bucket, mountOptions=[endpoint])
        program(site, "m", _BASE)
        site.push()
        with daemon(site):
            until(lambda: _failure(site) is not None, what="the refusal")
            assert _failure(site) == "Infrastructure"
            assert bucket.names() == []
            granted = True
            site.ready("m")


def test_a_training_begins_once_its_bucket_is_there(
    tmp_path: Path, gcs_namespace: Namespace, gcs_cluster: NodeCluster
) -> None:
    bucket = Bucket(gcs_cluster, gcs_namespace)
    site = _site(tmp_path, gcs_namespace, gcs_cluster, bucket)
    program(site, "m", _BASE)
    site.push()
    with daemon(site):
        until(lambda: _failure(site) is not None, what="the attempt to fail")
        assert _failure(site) == "Infrastructure"
        bucket.make()
        site.ready("m")


def _saved(bucket: Bucket, writes: str) -> bool:
    """Whether the checkpoint is safe: staged, in the list of a copy that counts."""
    names = bucket.names()
    if writes == "direct":
        return any(name.endswith("/checkpoint") for name in names)
    lists = [name for name in names if "/.reconciler-list-" in name]
    return any("checkpoint" in bucket.text(name) for name in lists)


def _failure(site: NodeSite) -> str | None:
    """The class of the last failed attempt, once it is over."""
    status = site.statuses().get("m", {"phase": "", "tasks": [{}]})
    assert status["phase"] not in ("Ready", "Failed"), status
    found: str | None = status["tasks"][0].get("failure")
    return found


def _kill_mounts(cluster: NodeCluster, namespace: Namespace) -> bool:
    """Kill every gcsfuse of the namespace's pods; whether there was one."""
    pods = {str(pod["metadata"]["uid"]) for pod in cluster.api.items(namespace.pods)}
    killed = False
    for process, command in _processes():
        if command and command[0].endswith("gcsfuse") and any(p in command[-1] for p in pods):
            process.kill()
            killed = True
    return killed


def _processes() -> Iterator[tuple[psutil.Process, list[str]]]:
    for process in psutil.process_iter():
        try:
            yield process, process.cmdline()
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
