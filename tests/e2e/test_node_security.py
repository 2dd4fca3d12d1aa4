"""Runs in namespaces that enforce a Pod Security Standard, and what needs more than that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.docs.reading import ROOT, blocks
from tests.e2e.node_site import NodeSite, daemon, program, until
from tests.e2e.rclone_bucket import rclone_bucket

LOAD = 'echo initial >"$MODEL_DIR/weights"'
TRAIN = """\
set -eu
echo scratch >"$SCRATCH_DIR/file"
{ cat "$BASE_MODEL_DIR/weights"; echo trained; } >"$MODEL_DIR/weights"
of() { sed -n "s/^$1:[^0-9a-f]*//p" /proc/self/status; }
printf '{"user": %d, "capabilities": %d, "seccomp": %d, "noNewPrivileges": %d}' \
    "$(id -u)" "$((0x$(of CapBnd)))" "$(of Seccomp)" "$(of NoNewPrivs)" >"$MODEL_DIR/metrics.json"
"""


def enforce(namespace: Namespace, level: str) -> None:
    """As an administrator labels a namespace; from then on the API server refuses other pods."""
    labels = {"pod-security.kubernetes.io/enforce": level}
    path = f"/api/v1/namespaces/{namespace.name}"
    namespace.cluster.api.request("PATCH", path, {"metadata": {"labels": labels}})


def claim(namespace: Namespace, folder: Path) -> dict[str, Any]:
    """A bucket on a claim, which is there as an administrator makes it."""
    folder.mkdir()
    folder.chmod(0o777)
    api = namespace.cluster.api
    common = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    volume = {
        **common,
        "capacity": {"storage": "1Gi"},
        "hostPath": {"path": str(folder)},
        "claimRef": {"namespace": namespace.name, "name": "models"},
        "persistentVolumeReclaimPolicy": "Retain",
    }
    name = {"metadata": {"name": namespace.name}}
    api.create("/api/v1/persistentvolumes", {**name, "spec": volume})
    asked = {**common, "resources": {"requests": {"storage": "1Gi"}}, "volumeName": namespace.name}
    api.create(
        f"/api/v1/namespaces/{namespace.name}/persistentvolumeclaims",
        {"metadata": {"name": "models"}, "spec": asked},
    )
    return {"url": "pvc://models/artifacts"}


def documented_profile() -> Any:
    """The profile ``restricted``, as the documentation has it."""
    (block,) = [b for b in blocks(ROOT / "docs/operations.md") if "restricted:" in b.text]
    return YAML(typ="safe").load(block.text)["kubernetes"]["profiles"]["restricted"]


def loaded_and_trained(site: NodeSite, name: str, more: dict[str, Any]) -> None:
    """A Model whose weights are loaded first, and finetuned then."""
    spec = {
        "source": {"image": {"ref": site.cluster.images["busybox"]}},
        "load": {"command": ["sh", "-c", LOAD], **more},
        "training": {"mode": "Finetune", "command": ["sh", "-c", TRAIN], **more},
    }
    manifest = {"kind": "Model", "metadata": {"name": name}, "spec": spec}
    site.write(f"{name}.yaml", json.dumps(manifest))


@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_a_load_and_a_training_run_where_the_standard_is_enforced(
    tmp_path: Path, node_namespace: Namespace, node_cluster: NodeCluster, level: str
) -> None:
    enforce(node_namespace, level)
    bucket = claim(node_namespace, tmp_path / "bucket")
    site = NodeSite(tmp_path, node_namespace, node_cluster, bucket)
    site.configure(kubernetes={"profiles": {"restricted": documented_profile()}})
    loaded_and_trained(site, "m", {"profile": "restricted"} if level == "restricted" else {})
    if level == "restricted":
        loaded_and_trained(site, "plain", {})
    site.push()
    with daemon(site):
        status = site.ready("m")
        if level == "restricted":
            until(
                lambda: "kubectl describe job" in site.statuses()["plain"]["message"],
                what="the reason of the one without a profile",
            )
    seen = status["artifact"]["metrics"]
    assert (seen["seccomp"], seen["noNewPrivileges"]) == (2, 1)
    assert (seen["user"], seen["capabilities"] == 0) == (
        (1000, True) if level == "restricted" else (0, False)
    )
    (weights,) = [
        f for f in (tmp_path / "bucket").rglob("weights") if status["artifact"]["key"] in str(f)
    ]
    assert weights.read_text() == "initial\ntrained\n"


#: What a build's container is allowed beyond the standard, each taken away alone.
TAKEN = {
    "seccomp": {"seccompProfile": {"type": "RuntimeDefault"}},
    "escalation": {"allowPrivilegeEscalation": False},
}


def built(site: NodeSite, name: str, build: dict[str, Any]) -> None:
    """A Model that is built of a source of its own, and loads at once."""
    site.dockerfile(f"src/{name}", "load.sh", f"#!/bin/sh\necho {name} > $MODEL_DIR/weights\n")
    source = f"{{git: {{url: ., path: src/{name}}}}}"
    site.write(
        f"{name}.yaml",
        f"kind: Model\nmetadata: {{name: {name}}}\n"
        f"spec:\n  source: {source}\n  build: {json.dumps(build)}\n  load: {{}}\n",
    )


def test_a_rootless_build_needs_what_it_is_allowed(node_site: NodeSite) -> None:
    site = node_site
    profiles = {
        name: {"spec": {"containers": [{"name": "main", "securityContext": security}]}}
        for name, security in TAKEN.items()
    }
    site.configure(kubernetes={"profiles": profiles})
    built(site, "whole", {})
    for name in TAKEN:
        built(site, name, {"profile": name})
    site.push()

    def refused(name: str) -> bool:
        status = site.statuses().get(name, {"phase": "", "message": ""})
        assert status["phase"] != "Ready", f"{name} is not needed"
        return "BuildKit did not start" in status["message"]

    with daemon(site):
        until(lambda: all(map(refused, TAKEN)), what="the builds to fail")
        site.ready("whole")
        statuses = site.statuses()
    assert {name: statuses[name]["tasks"][0]["failure"] for name in TAKEN} == dict.fromkeys(
        TAKEN, "Infrastructure"
    )


def test_a_privileged_build_and_a_mount_that_is_not_handed_on(
    tmp_path: Path, node_namespace: Namespace, node_cluster: NodeCluster
) -> None:
    bucket = rclone_bucket(node_cluster, node_namespace)
    site = NodeSite(tmp_path, node_namespace, node_cluster, bucket)
    # Nothing less than privileged may hand a mount on (the API server says so), and without
    # that the command's container has none.
    sidecar = {
        "name": "rclone-artifact",
        "securityContext": {"privileged": True},
        "volumeMounts": [{"mountPath": "/bucket", "mountPropagation": None}],
    }
    profiles = {"alone": {"spec": {"initContainers": [sidecar]}}}
    site.configure(kubernetes={"builder": "buildkit-privileged", "profiles": profiles})
    built(site, "whole", {})
    program(site, "alone", "pass", profile="alone")
    site.push()
    with daemon(site):
        site.ready("whole")
        until(lambda: "tried again at" in site.statuses()["alone"]["message"], what="the failure")
        statuses = site.statuses()
    assert "artifact's directory cannot be written" in statuses["alone"]["message"]
