"""What manifests may name: their own namespace's things, and others' by reference alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.manifests import Admission, amend, collect
from tests.manifests.reading import read

KEY = "0123456789012345678901234567890123456789"
CLUSTER = Admission(
    cluster="main",
    namespaces=(),
    artifacts=("s3://acme/prod",),
    buckets=("s3://acme/prod", "s3://data"),
)


def dataset(url: str) -> str:
    return (
        "kind: Dataset\nmetadata: {name: d, namespace: a}\n"
        f'spec: {{source: {{bucket: {{url: "{url}"}}}}}}\n'
    )


def model(name: str, *, namespace: str = "a", formerly: str = "") -> str:
    annotations = f", annotations: {{substratus.ai/formerly: {formerly}}}" if formerly else ""
    return (
        f"kind: Model\nmetadata: {{name: {name}, namespace: {namespace}{annotations}}}\n"
        "spec: {source: {git: {url: https://git.test/r}}}\n"
    )


def said(*texts: str, admission: Admission = CLUSTER) -> list[str]:
    files = [read(text, f"{number}.yaml") for number, text in enumerate(texts)]
    return [str(problem) for problem in collect(files, admission=admission).problems]


@pytest.mark.parametrize(
    "url",
    [
        "s3://data",
        "s3://data/squad",
        "s3://acme/production",
        "s3://acme/prod/squad",
        f"s3://acme/prod/clusters/main/namespaces/a/models/m/{KEY}",
        f"s3://acme/prod//clusters/./main/namespaces/a/models/m/{KEY}",
        "s3://elsewhere/clusters/main/namespaces/b",
    ],
)
def test_data_and_the_own_artifacts_may_be_named(url: str) -> None:
    assert said(dataset(url)) == []


@pytest.mark.parametrize(
    "url",
    [
        f"s3://acme/prod/clusters/main/namespaces/b/models/m/{KEY}",
        f"s3://acme/prod/clusters/main/namespaces/ab/models/m/{KEY}",
        f"s3://acme/prod/clusters/other/namespaces/a/models/m/{KEY}",
        f"s3://acme/./prod//clusters/main/namespaces/b/models/m/{KEY}",
        "s3://acme/prod/clusters/main",
        "s3://acme/prod/clusters/main/namespaces",
        "s3://data/clusters/main/namespaces/b/models/m",
    ],
)
def test_artifacts_of_another_namespace_cannot_be_named_by_their_url(url: str) -> None:
    (found,) = said(dataset(url))
    assert found.startswith("0.yaml:3:26: spec.source.bucket.url: ")
    assert found.endswith("has artifacts of another namespace; refer to the object instead")


@pytest.mark.parametrize("url", ["s3://acme/prod", "s3://acme", "s3://acme/prod/clusters/"])
def test_a_folder_with_the_artifacts_of_all_namespaces_cannot_be_named(url: str) -> None:
    (found,) = said(dataset(url))
    assert "has the artifacts of all namespaces in it" in found


def test_the_url_of_a_load_is_held_to_the_same() -> None:
    text = model("m").replace(
        "git: {url: https://git.test/r}}", f"image: {{ref: 'r@sha256:{'0' * 64}'}}}}"
    )
    text = text.replace("}}}\n", "}}, load: {from: {url: s3://acme/prod/clusters/main}}}\n")
    (found,) = said(text)
    assert "spec.load.from.url" in found


@pytest.mark.parametrize(
    "url",
    [
        "file://localhost/srv/b/clusters/main/namespaces/b/models/m",
        "file:///srv/b/%63lusters/main/namespaces/b/models/m",
        "file:///srv/b?q",
        "file:///srv/b#f",
    ],
)
def test_a_file_url_has_one_form(url: str) -> None:
    (found,) = said(dataset(url), admission=Admission(cluster="main", artifacts=("file:///srv/b",)))
    assert "expected file:///path without a host, %, ? and #" in found


def test_only_the_configured_namespaces_are_served() -> None:
    served = Admission(cluster="main", namespaces=("models", "a"))
    assert said(model("m"), admission=served) == []
    (found,) = said(model("m", namespace="kube-system"), admission=served)
    assert found.startswith("0.yaml:2:")
    assert found.endswith("is not one of kubernetes.namespaces: models, a")


@pytest.mark.parametrize("namespace", ["kube-system", "kube-public", "kube-node-lease"])
def test_the_namespaces_of_kubernetes_are_never_served_unasked(namespace: str) -> None:
    (found,) = said(model("m", namespace=namespace))
    assert "is that of Kubernetes itself" in found
    assert said(model("m", namespace=namespace), admission=Admission(cluster="local")) == []


def test_the_daemons_own_namespace_is_not_served_unasked() -> None:
    own = replace(CLUSTER, own_namespace="reconciler")
    (found,) = said(model("m", namespace="reconciler"), admission=own)
    assert found.startswith("0.yaml:2:")
    assert 'namespace "reconciler" is the daemon\'s own, with its credentials' in found
    asked = replace(own, namespaces=("reconciler",))
    assert said(model("m", namespace="reconciler"), admission=asked) == []


def test_the_identity_of_another_namespace_cannot_be_taken_over() -> None:
    (found,) = said(model("m", formerly="b/secret"))
    assert "expected an object of namespace a, found Model b/secret" in found
    (found,) = said(model("m", formerly="old/b/secret"))
    assert "expected an object of namespace a" in found
    assert said(model("m", formerly="secret")) == []
    assert said(model("m", formerly="old/a/secret"), model("secret")) == []


def test_the_identity_of_an_object_that_is_still_there_cannot_be_taken_over() -> None:
    assert len(said(model("m", formerly="main/a/secret"), model("secret"))) == 1
    (found,) = said(model("m", formerly="secret"), model("secret"))
    assert found.endswith(
        "Model a/secret is still there; remove its manifest in the commit that renames it"
    )


def test_a_changed_file_is_held_to_the_same_as_a_new_one() -> None:
    before = [read(dataset("s3://data/squad"), "d.yaml")]
    after = [read(dataset("s3://acme/prod/clusters"), "d.yaml")]
    collection = collect(before, admission=CLUSTER)
    assert amend(collection, before, after, CLUSTER) is None
    assert amend(collection, before, before, CLUSTER) == collection
