"""Listings of buckets on a cluster: what their Job prints, and what is read of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engines.kubernetes.data_listing import read_listing, render_listing
from reconciler.engines.kubernetes.pod_parts import RenderError
from reconciler.reasons import ReasonCode
from reconciler.types import BucketSource, DataListing
from tests.engines.kubernetes.container import BUSYBOX, as_the_kubelet, need_busybox
from tests.engines.kubernetes.specs import check_schema, settings_of

SOURCE = BucketSource("s3://data/squad", "team")
DATA = {"data": {"url": "s3://data"}}
TIME = 1_700_000_000
DIGEST = b"a" * 64 + b"  -\n"


def put(path: Path, text: str, time: int = TIME) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (time, time))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    need_busybox()
    for name in ("a", "b/c", "b/with a space", "new\nline"):
        put(tmp_path / "data" / name, name)
    return tmp_path / "data"


def listed(folder: Path, tmp_path: Path) -> DataListing:
    """The listing that a Job of the folder prints, by busybox alone."""
    container = render_listing(SOURCE, settings_of(tmp_path, buckets=DATA))[0]
    command = container["spec"]["template"]["spec"]["containers"][0]["command"]
    script = as_the_kubelet(command[2])
    env = {"PATH": str(tmp_path / "bin")}
    if not (tmp_path / "bin").exists():
        (tmp_path / "bin").mkdir()
        subprocess.run([BUSYBOX, "--install", "-s", str(tmp_path / "bin")], check=True)
    done = subprocess.run(
        [BUSYBOX, "sh", "-c", script, str(folder)], env=env, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = read_listing(done.stdout)
    assert found is not None, done.stdout
    return found


def test_the_job_prints_a_listing(folder: Path, tmp_path: Path) -> None:
    found = listed(folder, tmp_path)
    assert found.size == sum(len(n) for n in ("a", "b/c", "b/with a space", "new\nline"))
    assert listed(folder, tmp_path) == found
    put(folder / "a", "A", TIME + 1)
    other = listed(folder, tmp_path)
    assert (other.size, other.files) == (found.size, found.files)
    assert other.digest != found.digest


def test_an_empty_folder_has_a_listing_too(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert (found := listed(tmp_path / "empty", tmp_path)).files == found.size == 0


@pytest.mark.parametrize(
    "text",
    [b"", b"0 0\n", DIGEST, DIGEST + b"1 2\nmore\n", DIGEST[1:] + b"1 2\n", DIGEST + b"1 x\n"],
)
def test_what_is_no_listing_counts_for_nothing(text: bytes) -> None:
    assert read_listing(text) is None


@given(st.binary(max_size=200))
def test_a_log_may_hold_anything(text: bytes) -> None:
    found = read_listing(text + b"b" * 64 + b"  -\n3 4\n")
    assert found is not None
    assert (found.digest, found.files, found.size) == ("b" * 40, 3, 4)


@pytest.mark.parametrize("scheme", ["gs", "s3", "pvc", "file"])
def test_the_job_is_valid_reads_only_and_may_do_nothing(tmp_path: Path, scheme: str) -> None:
    url = "file:///data" if scheme == "file" else f"{scheme}://data"
    settings = settings_of(
        tmp_path, buckets={"data": {"url": url}}, registry={"url": "r.test/m", "secret": "pull"}
    )
    objects = render_listing(BucketSource(f"{url}/squad", "team"), settings)
    check_schema(objects)
    job = objects[0]
    assert job["metadata"]["namespace"] == "team"
    assert job["metadata"]["labels"]["substratus.ai/task"] == "inventory", "no run of an object"
    pod = job["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "pull"}]
    (main,) = pod["containers"]
    assert main["securityContext"]["runAsNonRoot"]
    assert main["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    mounts = [m for m in main["volumeMounts"] if m["mountPath"].startswith("/bucket")]
    assert [mount["readOnly"] for mount in mounts] == [True]


def test_a_bucket_that_is_not_allowed_is_not_mounted(tmp_path: Path) -> None:
    with pytest.raises(RenderError) as error:
        render_listing(BucketSource("s3://other/squad", "team"), settings_of(tmp_path))
    assert error.value.reason.code is ReasonCode.BUCKET_NOT_ALLOWED
