"""What a user's own overlay makes of deploy/, as kustomize renders it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from ruamel.yaml import YAML

from reconciler.engine import Wanted
from reconciler.engines.kubernetes.inventory import folders, render_inventory
from reconciler.types import TaskKind
from tests.cluster.cluster import Cluster
from tests.engines.kubernetes.specs import job_of, settings_of
from tests.specs import KEY, build, train
from tests.test_deploy import DEPLOY, OVERLAYS, kustomized, may

COMPONENTS = sorted(folder.name for folder in (DEPLOY / "components").iterdir())
#: Overlays in one folder, all of which a user's own may put into one namespace.
FLAT = [name for name in OVERLAYS if name != "company"]
CLUSTER_SCOPED = {"Namespace", "ClusterRole", "ClusterRoleBinding"}


def customized(
    cluster: Cluster, folder: Path, resource: str, **fields: Any
) -> list[dict[str, Any]]:
    """What a user's own overlay on a part of deploy/ renders, which has these fields."""
    there = os.path.relpath(DEPLOY, folder)
    components = [f"{there}/components/{name}" for name in fields.pop("components", [])]
    overlay = {"resources": [f"{there}/{resource}"], "components": components, **fields}
    (folder / "kustomization.yaml").write_text(json.dumps(overlay))
    return documents(cluster.kubectl("kustomize", str(folder)))


def documents(text: str) -> list[dict[str, Any]]:
    return list(YAML(typ="safe").load_all(text))


def of_kind(made: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [document for document in made if document["kind"] == kind]


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_component_fits_the_base_and_adds_to_it(
    component: str, control_plane: Cluster, tmp_path: Path
) -> None:
    made = customized(control_plane, tmp_path, "base", components=[component])
    assert made != customized(control_plane, tmp_path, "base")
    assert of_kind(made, "Deployment")


@pytest.mark.parametrize("resource", ["base", *(f"overlays/{name}" for name in FLAT)])
def test_a_users_overlay_names_the_image_and_the_namespace_of_all_that_is_ours(
    resource: str, control_plane: Cluster, tmp_path: Path
) -> None:
    image = {"name": "model-reconciler", "newName": "mirror.example.com/mr", "newTag": "1"}
    rights = ["job-rights"] if resource == "base" else []
    there = {"job-rights", "persistent-volumes"}  # of which an overlay may have some itself
    others = [name for name in COMPONENTS if name not in there | {"job-namespace"}]
    for components in (rights, [*rights, *others]):
        made = customized(
            control_plane, tmp_path, resource,
            components=components, namespace="mlops", images=[image],
        )  # fmt: skip
        (deployment,) = of_kind(made, "Deployment")
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert container["image"] == "mirror.example.com/mr:1"
        names = {d["metadata"].get("namespace") for d in made if d["kind"] not in CLUSTER_SCOPED}
        assert names == {"mlops"}
        assert [d["metadata"]["name"] for d in of_kind(made, "Namespace")] in ([], ["mlops"])
        assert set(subjects(made)) == {("reconciler", "mlops")}


def test_without_the_rights_of_one_namespace_there_are_those_of_all(
    control_plane: Cluster, tmp_path: Path
) -> None:
    made = customized(control_plane, tmp_path, "overlays/single", components=["cluster-wide"])
    assert [d["metadata"]["name"] for d in of_kind(made, "Role")] == ["reconciler-lease"]
    assert [d["metadata"]["name"] for d in of_kind(made, "ClusterRole")] == ["reconciler"]


def test_a_company_runs_jobs_in_a_list_of_namespaces_beside_the_daemons(
    own_control_plane: Cluster,
) -> None:
    cluster = own_control_plane
    made = documents(kustomized(cluster, "company"))
    daemon = of_kind(made, "Deployment")[0]["metadata"]["namespace"]
    config = configuration(made)
    jobs = config["kubernetes"]["namespaces"]
    assert len(jobs) > 1
    assert daemon not in jobs
    assert {d["metadata"]["name"] for d in of_kind(made, "Namespace")} == {daemon, *jobs}
    assert set(subjects(made)) == {("reconciler", daemon)}
    cluster.kubectl("apply", "--filename=-", given=kustomized(cluster, "company"))
    account = f"system:serviceaccount:{daemon}:reconciler"
    for namespace in jobs:
        assert may(cluster, "create", "jobs.batch", namespace, account=account)
    for namespace in (daemon, "default"):
        assert not may(cluster, "create", "jobs.batch", namespace, account=account)


def test_the_image_of_a_private_mirror_is_pulled_with_a_secret(control_plane: Cluster) -> None:
    made = documents(kustomized(control_plane, "company"))
    (account,) = of_kind(made, "ServiceAccount")
    (deployment,) = of_kind(made, "Deployment")
    assert account["imagePullSecrets"] == [{"name": "registry"}]
    pod = deployment["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == account["metadata"]["name"]
    images = [pod["containers"][0]["image"], *configuration(made)["kubernetes"]["images"].values()]
    assert {image.partition("/")[0] for image in images} == {"registry.example.com"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_ports_that_a_configuration_names_are_open(
    overlay: str, control_plane: Cluster
) -> None:
    made = documents(kustomized(control_plane, overlay))
    config = configuration(made)
    policies = of_kind(made, "NetworkPolicy")
    git = port_of(config["repository"]["url"])
    assert git in open_ports(policies, "app.kubernetes.io/name")
    if jobs := open_ports(policies, "app.kubernetes.io/managed-by"):
        assert {git, port_of(f"https://{config['registry']['url']}")} <= jobs


def test_the_policy_of_jobs_is_about_every_pod_of_a_run(
    control_plane: Cluster, tmp_path: Path
) -> None:
    made = customized(control_plane, tmp_path, "base", components=["job-network"])
    settings = settings_of(tmp_path)
    url = f"gs://models/prod/clusters/local/namespaces/team/models/a/{KEY}/"
    (folder,) = folders([Wanted(TaskKind.TRAIN, KEY, url)])
    inventory = render_inventory(folder, settings)
    assert inventory is not None
    jobs = [job_of(build(), settings), job_of(train(), settings), inventory[0]]
    labels = [job["spec"]["template"]["metadata"]["labels"].items() for job in jobs]
    policies = [
        policy for policy in of_kind(made, "NetworkPolicy") if "jobs" in policy["metadata"]["name"]
    ]
    assert len(policies) == 2
    for policy in policies:
        wanted = policy["spec"]["podSelector"]["matchLabels"].items()
        assert all(wanted <= found for found in labels)
        # Nothing but another pod of a run reaches one.
        for rule in policy["spec"].get("ingress", []):
            assert rule == {"from": [{"podSelector": policy["spec"]["podSelector"]}]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_secret_of_an_overlay_is_made_in_the_docs(
    overlay: str, control_plane: Cluster
) -> None:
    made = documents(kustomized(control_plane, overlay))
    page = (DEPLOY.parent / "docs" / "deploy.md").read_text()
    documented = set(re.findall(r"create secret \S+ (\S+)", page))
    named = set(secrets([*made, configuration(made)]))
    assert "git" in named
    assert named <= documented


def configuration(made: list[dict[str, Any]]) -> dict[str, Any]:
    """The reconciler.yaml of rendered objects."""
    (found,) = [d for d in of_kind(made, "ConfigMap") if "reconciler.yaml" in d["data"]]
    (config,) = documents(found["data"]["reconciler.yaml"])
    return config


def subjects(made: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """The accounts that rights are given to."""
    for binding in made:
        for subject in binding.get("subjects", []):
            yield subject["name"], subject["namespace"]


def port_of(url: str) -> int:
    return urlsplit(url).port or {"https": 443, "ssh": 22}[urlsplit(url).scheme]


def open_ports(policies: list[dict[str, Any]], label: str) -> set[int]:
    """The ports that policies for pods with this label let out."""
    return {
        port["port"]
        for policy in policies
        if label in policy["spec"]["podSelector"]["matchLabels"]
        for rule in policy["spec"].get("egress", [])
        for port in rule.get("ports", [])
    }


def secrets(value: Any) -> Iterator[str]:
    """Names of Secrets, wherever they stand in objects and a configuration."""
    if isinstance(value, list):
        for item in value:
            yield from secrets(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in ("secret", "secretName", "buildSecret") and isinstance(item, str):
                yield item
            elif key == "imagePullSecrets":
                yield from (each["name"] for each in item)
            else:
                yield from secrets(item)
