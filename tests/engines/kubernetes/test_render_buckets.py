"""Buckets: each driver's part of a pod, and which bucket a URL is in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine import RunSpec
from reconciler.engines.kubernetes.job import render
from reconciler.engines.kubernetes.pod_parts import RenderError
from reconciler.types import Mounted
from tests.engines.kubernetes.specs import (
    environment_of,
    expand,
    main_of,
    mounts_of,
    named,
    pod_of,
    settings_of,
)
from tests.specs import BASE_KEY, DATA_KEY, KEY, train

RCLONE = {
    "url": "s3://models/prod",
    "driver": "rclone",
    "remote": "minio",
    "secret": "minio",
    "mountOptions": ["--transfers=8"],
}


def in_bucket(url: str) -> RunSpec:
    """A training all of whose directories are in one bucket."""
    return train(
        output=f"{url}/own/{KEY}/",
        base=Mounted(BASE_KEY, f"{url}/base/{BASE_KEY}/"),
        dataset=Mounted(DATA_KEY, f"{url}/data/{DATA_KEY}/"),
    )


def buckets(default: dict[str, Any], **others: dict[str, Any]) -> dict[str, Any]:
    return {"default": default, **others}


def test_gcsfuse_mounts_each_directory_by_itself(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    spec = in_bucket("gs://models/prod")
    pod = pod_of(spec, settings)
    own, base = named(pod["volumes"], "artifact")["csi"], named(pod["volumes"], "base")["csi"]
    assert own["readOnly"] is False
    assert base["readOnly"] is True
    assert own["volumeAttributes"]["bucketName"] == "models"
    options = own["volumeAttributes"]["mountOptions"].split(",")
    assert f"only-dir=prod/own/{KEY}" in options
    job, *more = render(spec, settings)
    assert job["spec"]["template"]["metadata"]["annotations"]["gke-gcsfuse/volumes"] == "true"
    assert more == []


def test_gcsfuse_is_written_directly(tmp_path: Path) -> None:
    mounts = mounts_of(main_of(train(), settings_of(tmp_path)))
    assert mounts["/model/saved"] == {"name": "artifact"}


def test_gcsfuse_cannot_mount_a_path_with_a_comma(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with pytest.raises(RenderError, match="has a comma"):
        render(in_bucket("gs://models/prod/a,rw"), settings)


def test_mountpoint_is_one_volume_per_bucket_and_namespace(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        buckets=buckets({"url": "s3://models/prod", "mountOptions": ["region eu-west-1"]}),
    )
    spec = in_bucket("s3://models/prod")
    _, volume, claim = render(spec, settings)
    assert volume["kind"] == "PersistentVolume"
    assert volume["spec"]["csi"]["volumeAttributes"] == {"bucketName": "models"}
    assert volume["spec"]["mountOptions"][-1] == "region eu-west-1"
    assert volume["spec"]["claimRef"]["namespace"] == claim["metadata"]["namespace"] == "default"
    assert claim["spec"]["volumeName"] == volume["metadata"]["name"]
    claims = [v for v in pod_of(spec, settings)["volumes"] if "persistentVolumeClaim" in v]
    assert len(claims) == 1  # a kubelet never starts a pod that has one claim twice
    mounts = mounts_of(main_of(spec, settings))
    assert mounts["/base-model/saved"]["subPath"] == f"prod/base/{BASE_KEY}"
    assert mounts["/base-model/saved"]["readOnly"] is True


def test_a_static_volume_is_another_in_another_namespace_and_with_other_options(
    tmp_path: Path,
) -> None:
    def name(namespace: str, **options: Any) -> str:
        settings = settings_of(tmp_path, buckets=buckets({"url": "s3://models/prod", **options}))
        spec = in_bucket("s3://models/prod")
        found = render(replace(spec, namespace=namespace), settings)
        return str(found[1]["metadata"]["name"])

    names = {name("default"), name("team-a"), name("default", mountOptions=["region eu-west-1"])}
    assert len(names) == 3
    assert name("default") == name("default")


def test_a_staged_bucket_is_written_on_local_disk(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, buckets=buckets({"url": "s3://models/prod", "sync": "5m"}))
    spec = in_bucket("s3://models/prod")
    container = main_of(spec, settings)
    mounts = mounts_of(container)
    assert mounts["/model/saved"] == {"name": "staging"}
    assert mounts["/.reconciler-bucket"]["subPath"] == f"prod/own/{KEY}"
    assert environment_of(container)["MODEL_DIR"] == "/model/saved"
    assert pod_of(spec, settings)["terminationGracePeriodSeconds"] > 30


def test_azure_has_its_account_among_the_attributes(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        buckets=buckets(
            {"url": "az://models/prod", "attributes": {"storageAccount": "acme"}, "secret": "az"}
        ),
    )
    _, volume, _ = render(in_bucket("az://models/prod"), settings)
    source = volume["spec"]["csi"]
    assert source["volumeAttributes"]["containerName"] == "models"
    assert source["volumeAttributes"]["storageAccount"] == "acme"
    assert source["nodeStageSecretRef"] == {"name": "az", "namespace": "default"}


def test_a_claim_is_in_a_pod_once(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, buckets=buckets({"url": "pvc://shared/models"}))
    spec = in_bucket("pvc://shared/models")
    claims = [
        v["persistentVolumeClaim"]
        for v in pod_of(spec, settings)["volumes"]
        if "persistentVolumeClaim" in v
    ]
    assert claims == [{"claimName": "shared"}]
    mounts = mounts_of(main_of(spec, settings))
    assert mounts["/model/saved"] == {"name": "claim-shared", "subPath": f"models/own/{KEY}"}
    assert mounts["/data"]["readOnly"] is True


def test_a_link_in_a_bucket_on_the_node_leads_out_of_it_for_no_pod(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, buckets=buckets({"url": "file:///srv/models"}))
    pod = pod_of(in_bucket("file:///srv/models"), settings)
    paths = [v["hostPath"] for v in pod["volumes"] if "hostPath" in v]
    assert paths == [{"path": "/srv/models", "type": "DirectoryOrCreate"}]
    (main,) = pod["containers"]
    mounts = [mount for mount in main["volumeMounts"] if mount["name"].startswith("bucket-")]
    assert f"own/{KEY}" in [mount["subPath"] for mount in mounts]
    assert all(mount["subPath"] for mount in mounts)


def test_rclone_mounts_by_a_sidecar_that_alone_is_privileged(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, buckets=buckets(RCLONE))
    pod = pod_of(in_bucket("s3://models/prod"), settings)
    sidecar = named(pod["initContainers"], "rclone-artifact")
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["securityContext"] == {"privileged": True}
    assert mounts_of(sidecar)["/bucket"]["mountPropagation"] == "Bidirectional"
    assert [expand(text) for text in sidecar["args"]][:2] == [
        f"minio:models/prod/own/{KEY}",
        "/bucket/mount",
    ]
    assert "--transfers=8" in sidecar["args"]
    (main,) = pod["containers"]
    assert "privileged" not in main["securityContext"]
    privileged = [c["name"] for c in pod["initContainers"] if "privileged" in c["securityContext"]]
    assert privileged == ["rclone-artifact", "rclone-base", "rclone-dataset"]


def test_the_command_sees_of_rclone_only_directories(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, buckets=buckets(RCLONE))
    spec = in_bucket("s3://models/prod")
    mounts = mounts_of(main_of(spec, settings))
    assert mounts["/data"] == {
        "name": "dataset",
        "subPath": "mount",
        "readOnly": True,
        "mountPropagation": "HostToContainer",
    }
    assert mounts["/model/saved"] == {"name": "staging"}
    secrets = [v["name"] for v in pod_of(spec, settings)["volumes"] if "secret" in v]
    assert not {mount["name"] for mount in mounts.values()} & set(secrets)


def test_what_rclone_only_reads_it_cannot_write(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, buckets=buckets(RCLONE))
    pod = pod_of(in_bucket("s3://models/prod"), settings)
    assert "--read-only" in named(pod["initContainers"], "rclone-base")["args"]
    assert "--read-only" not in named(pod["initContainers"], "rclone-artifact")["args"]


def test_no_option_changes_how_rclone_writes(tmp_path: Path) -> None:
    # At 0s, what cannot be uploaded is forgotten, and the barrier finds nothing to wait for.
    given = ["--vfs-write-back=0s", "--vfs-cache-mode=off"]
    settings = settings_of(tmp_path, buckets=buckets({**RCLONE, "mountOptions": given}))
    pod = pod_of(in_bucket("s3://models/prod"), settings)
    flags = [a.partition("=") for a in named(pod["initContainers"], "rclone-artifact")["args"]]
    last = {name: value for name, _, value in flags}
    assert (last["--vfs-write-back"], last["--vfs-cache-mode"]) == ("100ms", "writes")


def test_one_pod_has_directories_of_three_buckets(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        buckets=buckets(RCLONE, bases={"url": "gs://bases"}, **{"team-data": {"url": "s3://data"}}),
    )
    spec = train(
        output=f"s3://models/prod/{KEY}/",
        base=Mounted(BASE_KEY, f"gs://bases/{BASE_KEY}/"),
        dataset=Mounted(DATA_KEY, "s3://data/squad"),
    )
    mounts = mounts_of(main_of(spec, settings))
    assert mounts["/base-model/saved"] == {"name": "base", "readOnly": True}
    assert mounts["/data"]["subPath"] == "squad"
    assert mounts["/model/saved"] == {"name": "staging"}
    kinds = [item["kind"] for item in render(spec, settings)]
    assert kinds == ["Job", "PersistentVolume", "PersistentVolumeClaim"]


def test_the_longest_configured_url_has_the_directory(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        buckets=buckets({"url": "s3://models"}, old={"url": "s3://models/old", "driver": "rclone"}),
    )
    directory = settings.directory("a", "s3://models/old/x/", namespace="default", read_only=True)
    assert directory.bucket.driver == "rclone"
    assert directory.path == "old/x"
    other = settings.directory("a", "s3://models/older/x/", namespace="default", read_only=True)
    assert other.bucket.driver == "mountpoint-s3"


def test_a_bucket_must_be_configured_or_allowed(tmp_path: Path) -> None:
    spec = train(dataset=Mounted(DATA_KEY, "s3://team-data/squad"))
    with pytest.raises(RenderError, match=r"s3://team-data/squad.*allow\.buckets"):
        render(spec, settings_of(tmp_path))
    allowed = settings_of(tmp_path, allow={"buckets": ["s3://team-*"]})
    assert mounts_of(main_of(spec, allowed))["/data"]["subPath"] == "squad"


@pytest.mark.parametrize("url", ["file:///etc/kubernetes", "pvc://someone/path"])
def test_a_star_allows_neither_the_nodes_disk_nor_claims(tmp_path: Path, url: str) -> None:
    spec = train(dataset=Mounted(DATA_KEY, url))
    with pytest.raises(RenderError, match=r"allow\.buckets"):
        render(spec, settings_of(tmp_path, allow={"buckets": ["*"]}))
    named_one = settings_of(tmp_path, allow={"buckets": [f"{url}*"]})
    assert render(spec, named_one)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/data", "no driver mounts ftp://host/data"),
        ("gs://models/prod/../../other", "expected a folder"),
        ("gs://models/prod/x/..", "expected a folder"),
    ],
)
def test_a_url_that_cannot_be_mounted_says_why(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(RenderError, match=message) as caught:
        render(train(dataset=Mounted(DATA_KEY, url)), settings_of(tmp_path))
    assert not caught.value.permanent


def test_a_pod_compares_what_it_mounts_as_each_bucket_says(tmp_path: Path) -> None:
    url, old = "gs://models/prod", "gs://models/prod/base"
    spec = in_bucket(url)
    plain = settings_of(tmp_path)
    assert "RECONCILER_VERIFY" not in environment_of(main_of(spec, plain))
    settings = settings_of(
        tmp_path, buckets=buckets({"url": url, "verify": "digests"}, old={"url": old})
    )
    verify = environment_of(main_of(spec, settings))["RECONCILER_VERIFY"]
    assert verify == "artifact=digests dataset=digests"


def test_what_a_scrub_found_damaged_is_not_taken_for_complete_by_its_sizes(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, retention={"verify": "24h"})
    verify = environment_of(main_of(train(), settings))["RECONCILER_VERIFY"]
    assert verify == "artifact=digests"
