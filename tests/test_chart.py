"""The Helm chart makes the objects that the kustomize overlays make, and refuses what it cannot.

Helm takes longer to build than a test run may take more, so ``make test-chart`` does. A run of all
tests has these where Helm was built before, and skips them elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from reconciler import __version__
from reconciler.config import load_setup
from reconciler.engines.kubernetes.config import ClusterSettings
from tests.cluster.build import built
from tests.cluster.cluster import Cluster
from tests.engines.kubernetes.specs import settings_of
from tests.processes import run
from tests.test_deploy import DEPLOY, OVERLAYS, kustomized
from tests.test_overlays import configuration, customized, documents
from tools.chart import CHART, FILE, SECTIONS, values_schema

#: Values beside the sections of reconciler.yaml that make the objects of an overlay.
VALUES: dict[str, dict[str, Any]] = {
    "single": {},
    "one-node": {},
    "two-replicas": {"replicas": 2},
    "gke-gcsfuse": {"replicas": 2},
    "eks-mountpoint": {"replicas": 2, "persistentVolumes": True},
    "company": {
        "replicas": 2,
        "image": {
            "repository": "registry.example.com/mirror/model-reconciler",
            "pullSecrets": ["registry"],
        },
        "network": {
            "egress": [443, 6443, 7443],
            "jobs": {"enabled": True, "egress": [443, 80, 7443]},
        },
    },
}
#: Objects of an overlay that a chart leaves to its user.
THEIRS = {"Namespace"}
REPOSITORY = {"url": "https://git.example.com/team/models"}
DIGEST = f"sha256:{hashlib.sha256(b'').hexdigest()}"
#: What has no default.
NEEDED: dict[str, Any] = {
    "repository": REPOSITORY,
    "registry": {"url": "registry.example.com/models"},
    "buckets": {"default": {"url": "gs://example-models"}},
}


@pytest.fixture(scope="session")
def helm() -> Path:
    """The program ``helm``."""
    found = built("helm").get("helm")
    if found is None:
        pytest.skip("Helm is not built; make test-chart does that")
    return found


def rendered(
    helm: Path, folder: Path, values: dict[str, Any], namespace: str = "reconciler"
) -> list[dict[str, Any]]:
    return documents(_template(helm, folder, values, namespace).stdout)


def refused(helm: Path, folder: Path, values: dict[str, Any]) -> str:
    done = _template(helm, folder, values, check=False)
    assert done.returncode != 0
    stderr: str = done.stderr
    return stderr


def _template(
    helm: Path,
    folder: Path,
    values: dict[str, Any],
    namespace: str = "reconciler",
    *,
    check: bool = True,
) -> Any:
    file = folder / "values.json"
    file.write_text(json.dumps(values))
    command = [str(helm), "template", "reconciler", str(CHART), f"--namespace={namespace}"]
    return run([*command, f"--values={file}"], check=check)


def values_of(overlay: str, made: list[dict[str, Any]]) -> dict[str, Any]:
    """The values for an overlay's objects, the configuration among them."""
    config = configuration(made)
    sections = {name: config.pop(name) for name in SECTIONS if name in config}
    # These the chart writes itself.
    for name in ("engine", "local", "server"):
        del config[name]
    kubernetes = config["kubernetes"]
    namespaces = kubernetes.pop("namespaces")
    assert kubernetes.pop("namespace") == namespaces[0]
    return {"namespaces": namespaces, **sections, "config": config, **VALUES[overlay]}


def comparable(made: list[dict[str, Any]]) -> dict[tuple[str, str, str], Any]:
    """Objects by kind, namespace and name, without what the two tools add.

    Those are the hash in the name of a ConfigMap, a checksum of the configuration, the label of a
    release, the namespace in the names of objects that are the cluster's, and the objects' own
    labels, which a component's objects do not have.
    """
    found = {}
    for document in made:
        if document["kind"] in THEIRS:
            continue
        if "reconciler.yaml" in document.get("data", {}):
            document["data"] = YAML(typ="safe").load(document["data"]["reconciler.yaml"])
        text = json.dumps(_without(document))
        text = re.sub(r'"reconciler-[2456789bcdfghkmt]{10}"', '"reconciler"', text)
        text = re.sub(r'"reconciler-reconciler(-volumes|-queues)?"', r'"reconciler\1"', text)
        each = json.loads(text)
        meta = each["metadata"]
        own = {"app.kubernetes.io/name", "app.kubernetes.io/part-of"}
        meta["labels"] = {k: v for k, v in meta.get("labels", {}).items() if k not in own}
        key = (each["kind"], meta.get("namespace", ""), meta["name"])
        assert key not in found
        found[key] = each
    return found


def _without(value: Any) -> Any:
    added = {"app.kubernetes.io/instance", "checksum/config"}
    if isinstance(value, list):
        return [_without(item) for item in value]
    if isinstance(value, dict):
        kept = {k: _without(v) for k, v in value.items() if k not in added}
        return {k: v for k, v in kept.items() if (k, v) != ("annotations", {})}
    return value


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_chart_makes_what_an_overlay_makes(
    overlay: str, helm: Path, control_plane: Cluster, tmp_path: Path
) -> None:
    theirs = documents(kustomized(control_plane, overlay))
    namespace = next(d for d in theirs if d["kind"] == "Deployment")["metadata"]["namespace"]
    ours = rendered(helm, tmp_path, values_of(overlay, theirs), namespace)
    assert comparable(ours) == comparable(theirs)


def test_the_chart_makes_what_the_other_components_make(
    helm: Path, control_plane: Cluster, tmp_path: Path
) -> None:
    components = ["cluster-wide", "monitoring", "dashboards", "queues"]
    theirs = customized(control_plane, tmp_path, "overlays/single", components=components)
    values = values_of("single", documents(kustomized(control_plane, "single")))
    values["config"]["kubernetes"] = {"namespace": "models", "namespaces": ["models"]}
    monitoring = {"enabled": True, "dashboards": True}
    values |= {"namespaces": [], "monitoring": monitoring, "queues": True}
    ours = rendered(helm, tmp_path, values)
    assert comparable(ours) == comparable(theirs)


def test_prometheus_finds_the_service_and_the_service_its_pods(helm: Path, tmp_path: Path) -> None:
    values = {**NEEDED, "monitoring": {"enabled": True}}
    made = {document["kind"]: document for document in rendered(helm, tmp_path, values)}
    selected = made["ServiceMonitor"]["spec"]["selector"]["matchLabels"].items()
    assert selected <= made["Service"]["metadata"]["labels"].items()
    pods = made["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    assert made["Service"]["spec"]["selector"].items() <= pods


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_chart_is_linted(
    overlay: str, helm: Path, control_plane: Cluster, tmp_path: Path
) -> None:
    values = tmp_path / "values.json"
    values.write_text(json.dumps(values_of(overlay, documents(kustomized(control_plane, overlay)))))
    run([str(helm), "lint", "--strict", str(CHART), f"--values={values}"], check=True)


def test_a_cluster_takes_what_the_chart_makes_of_every_value(
    helm: Path, own_control_plane: Cluster, tmp_path: Path
) -> None:
    """All but ``monitoring``, whose kinds are those of the Prometheus operator."""
    for overlay in OVERLAYS:
        theirs = documents(kustomized(own_control_plane, overlay))
        values = values_of(overlay, theirs)
        values |= {"queues": True, "persistentVolumes": True}
        values["network"] = {"jobs": {"enabled": True}, **values.get("network", {})}
        (daemon,) = (d["metadata"] for d in theirs if d["kind"] == "Deployment")
        made = rendered(helm, tmp_path, values, daemon["namespace"])
        assert taken(own_control_plane, made) == len(made), overlay


def test_a_cluster_takes_the_chart_without_a_list_of_namespaces(
    helm: Path, control_plane: Cluster, tmp_path: Path
) -> None:
    made = rendered(helm, tmp_path, {**NEEDED, "namespaces": []}, "default")
    assert taken(control_plane, made) == len(made)


def taken(cluster: Cluster, made: list[dict[str, Any]]) -> int:
    """The number of objects that the API server would take, in namespaces that are there."""
    namespaces = {d["metadata"].get("namespace", "default") for d in made} - {"default"}
    for name in namespaces:
        there = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        cluster.kubectl("apply", "--filename=-", given=json.dumps(there))
    every = json.dumps({"apiVersion": "v1", "kind": "List", "items": made})
    told = cluster.kubectl("apply", "--dry-run=server", "--filename=-", given=every)
    return told.count("(server dry run)")


def test_the_daemon_takes_the_configuration_of_the_fewest_values(
    helm: Path, tmp_path: Path
) -> None:
    made = rendered(helm, tmp_path, NEEDED)
    (tmp_path / "reconciler.yaml").write_text(json.dumps(configuration(made)))
    setup = load_setup(tmp_path / "reconciler.yaml", {})
    assert setup.config.repository.credentials is not None
    ClusterSettings.from_setup(setup)


def test_numbers_and_durations_reach_the_daemon_as_they_were_written(
    helm: Path, tmp_path: Path
) -> None:
    config = {"limits": {"runs": 12_345_678}, "kubernetes": {"lease": "30s"}}
    made = rendered(helm, tmp_path, {**NEEDED, "config": config})
    (tmp_path / "reconciler.yaml").write_text(json.dumps(configuration(made)))
    found = load_setup(tmp_path / "reconciler.yaml", {}).config
    assert (found.limits.runs, found.kubernetes.lease) == (12_345_678, 30)
    assert found.kubernetes.namespaces == ["models"]


def test_another_configuration_starts_new_pods(helm: Path, tmp_path: Path) -> None:
    def annotations(cluster: str) -> Any:
        made = rendered(helm, tmp_path, {**NEEDED, "cluster": cluster})
        (deployment,) = (d for d in made if d["kind"] == "Deployment")
        return deployment["spec"]["template"]["metadata"]["annotations"]

    assert annotations("a") == annotations("a") != annotations("b")


def test_secrets_are_mounted_by_name_and_nowhere_written(helm: Path, tmp_path: Path) -> None:
    review = {"forge": "github", "tokenFile": "/run/secrets/reconciler/forge/token"}
    secrets = {"git": "deploy-key", "forge": "forge-token"}
    values = {**NEEDED, "secrets": secrets, "review": review}
    made = rendered(helm, tmp_path, values)
    (deployment,) = (d for d in made if d["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    mounted = {m["mountPath"]: m["name"] for m in pod["containers"][0]["volumeMounts"]}
    volumes = {v["name"]: v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
    assert volumes == secrets
    assert mounted["/run/secrets/reconciler/forge"] == "forge"
    assert configuration(made)["review"] == review
    assert "Secret" not in {document["kind"] for document in made}


@pytest.mark.parametrize(
    ("image", "named"),
    [
        ({}, f":{__version__}"),
        ({"tag": "1.2.3"}, ":1.2.3"),
        ({"digest": DIGEST}, f"@{DIGEST}"),
        ({"digest": DIGEST, "tag": "1.2.3"}, f"@{DIGEST}"),
    ],
)
def test_an_image_is_named_by_digest_or_tag_or_is_the_charts_version(
    image: dict[str, str], named: str, helm: Path, tmp_path: Path
) -> None:
    image = {"repository": "registry.example.com/mr", **image}
    made = rendered(helm, tmp_path, {**NEEDED, "image": image})
    (deployment,) = (d for d in made if d["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"registry.example.com/mr{named}"


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({}, "/repository/url"),
        ({**NEEDED, "registry": {}}, "/registry"),
        ({**NEEDED, "buckets": {}}, "/buckets"),
        ({**NEEDED, "repository": {**REPOSITORY, "branches": "x"}}, "/repository"),
        ({**NEEDED, "replica": 2}, "replica"),
        ({**NEEDED, "namespaces": ["Models"]}, "/namespaces/0"),
        ({**NEEDED, "config": {"guard": {"percnt": 1}}}, "/config/guard"),
        ({**NEEDED, "config": {"repository": REPOSITORY}}, "/config"),
        ({**NEEDED, "secrets": {"state": "git"}}, "/secrets/state"),
        (
            {**NEEDED, "namespaces": [], "network": {"jobs": {"enabled": True}}},
            "network.jobs",
        ),
    ],
)
def test_values_that_cannot_be_are_refused_with_their_place(
    values: dict[str, Any], where: str, helm: Path, tmp_path: Path
) -> None:
    assert where in refused(helm, tmp_path, values)


def test_the_schema_of_values_is_current() -> None:
    assert FILE.read_text() == values_schema()


def test_the_version_is_the_same_in_the_chart_and_in_the_base() -> None:
    chart = YAML(typ="safe").load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    base = (DEPLOY / "base" / "deployment.yaml").read_text()
    assert f"image: model-reconciler:{__version__}\n" in base


def test_every_image_and_its_version_stand_in_the_docs(tmp_path: Path) -> None:
    page = (DEPLOY.parent / "docs" / "deploy.md").read_text().partition("\n## Images\n")[2]
    listed = set(re.findall(r"`([\w./-]+:[\w.-]+)`", page.partition("\n## ")[0]))
    used = {f"model-reconciler:{__version__}"}
    for builder in ("buildkit", "buildkit-privileged"):
        images = settings_of(tmp_path, kubernetes={"builder": builder, "images": {}}).images
        used |= {images.wrapper, images.buildkit, images.rclone}
    assert used == {image for image in listed if "syft" not in image}
