"""The rules of one manifest beyond the types of its fields."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine import env_name, is_reserved
from tests.manifests.reading import dataset, model, only, read, said, yaml

IMAGE = {"image": {"ref": f"r/i@sha256:{'a' * 64}"}}
BASE = {"model": {"name": "base"}}


def named(**metadata: Any) -> dict[str, Any]:
    document = model()
    document["metadata"].update(metadata)
    return document


def trained(**training: Any) -> dict[str, Any]:
    return model(training=training)


VALID = {
    "source alone": model(),
    "an image alone": model(source=IMAGE),
    "a base alone": model(source=BASE),
    "promotion": model(source=BASE, load={"command": []}),
    "weights that are there, with git": model(load={"from": {"url": "s3://w/x"}}),
    "weights that are there, with an image": model(source=IMAGE, load={"from": {"url": "s3://w"}}),
    "data that are there": dataset(),
    "labels": named(labels={"a": "", "example.com/A_b.c": "A_b.9", "x" * 63: "y" * 63}),
    "annotations": named(annotations={"Example.com/x": "any text\nat all", "y": ""}),
    "formerly": named(annotations={"substratus.ai/formerly": "old"}),
    "formerly of a namespace": named(annotations={"substratus.ai/formerly": "ns/old"}),
    "formerly of a cluster": named(annotations={"substratus.ai/formerly": "c/ns/old"}),
    "protected": named(annotations={"substratus.ai/prune": "false"}),
    "variables": trained(env={"_A": "", "http_proxy": "x", "PARAMS": "x", "MODEL_DIRS": "y"}),
    "params": trained(params={"a": 2**53 - 1, "b": [1.5, {"c": None}], "d-e": True, "": "x"}),
    "params that no variable shows": trained(params={"a": [], "A": {}}),
    "NUL within a list": trained(params={"a": ["\0"]}),
    "a large size": trained(resources={"memory": "7.9Pi"}),
    "nodes of a training": trained(resources={"nodes": 4}),
    "params at the limit": trained(params={"a": "x" * (64 * 1024 - 8)}),
}


@pytest.mark.parametrize("document", VALID.values(), ids=VALID.keys())
def test_a_valid_manifest_is_read(document: dict[str, Any]) -> None:
    only(yaml(document))


INVALID = {
    "a label's key": (named(labels={"a b": "c"}), "metadata.labels.a b"),
    "a label's prefix in upper case": (named(labels={"A.b/c": "d"}), "metadata.labels.A.b/c"),
    "a label's empty prefix": (named(labels={"/c": "d"}), "metadata.labels./c"),
    "a label's dots": (named(labels={"a..b/c": "d"}), "metadata.labels.a..b/c"),
    "a label's long name": (named(labels={"x" * 64: "d"}), f"metadata.labels.{'x' * 64}"),
    "a label's value": (named(labels={"a": "b c"}), "metadata.labels.a"),
    "a label's long value": (named(labels={"a": "b" * 64}), "metadata.labels.a"),
    "a label's last -": (named(labels={"a": "b-"}), "metadata.labels.a"),
    "an annotation's key": (named(annotations={"a/b/c": ""}), "metadata.annotations.a/b/c"),
    "formerly with an empty part": (
        named(annotations={"substratus.ai/formerly": "/old"}),
        "metadata.annotations.substratus.ai/formerly",
    ),
    "formerly with too many parts": (
        named(annotations={"substratus.ai/formerly": "a/b/c/d"}),
        "metadata.annotations.substratus.ai/formerly",
    ),
    "prune neither true nor false": (
        named(annotations={"substratus.ai/prune": "no"}),
        "metadata.annotations.substratus.ai/prune",
    ),
    "large annotations": (named(annotations={"a": "x" * (256 << 10)}), "metadata.annotations"),
    "a namespace": (named(namespace="a.b"), "metadata.namespace"),
    "a long name": (model("x" * 64), "metadata.name"),
    "a variable's -": (trained(env={"a-b": ""}), "spec.training.env.a-b"),
    "a variable's digit": (trained(env={"1A": ""}), "spec.training.env.1A"),
    "an empty variable": (trained(env={"": ""}), "spec.training.env."),
    "a reserved variable": (trained(env={"PARAM_X": ""}), "spec.training.env.PARAM_X"),
    "a reserved secret": (
        trained(secretEnv={"RECONCILER_X": {"name": "a", "key": "b"}}),
        "spec.training.secretEnv.RECONCILER_X",
    ),
    "a variable of a load": (model(load={"env": {"ATTEMPT": "3"}}), "spec.load.env.ATTEMPT"),
    "a variable given twice": (
        trained(env={"A": ""}, secretEnv={"A": {"name": "a", "key": "b"}}),
        "spec.training.secretEnv.A",
    ),
    "a Secret's key that leads elsewhere": (
        trained(secretEnv={"A": {"name": "a", "key": ".."}}),
        "spec.training.secretEnv.A.key",
    ),
    "a Secret's name": (
        trained(secretEnv={"A": {"name": "a..b", "key": "b"}}),
        "spec.training.secretEnv.A.name",
    ),
    "params that collide": (trained(params={"a-b": 1, "A_B": 2}), "spec.training.params.A_B"),
    "NaN": (trained(params={"a": float("nan")}), "spec.training.params.a"),
    "an infinity": (trained(params={"a": [float("inf")]}), "spec.training.params.a[0]"),
    "a large integer": (trained(params={"a": {"b": -(2**53)}}), "spec.training.params.a.b"),
    "a size that no hash can hold": (
        trained(resources={"disk": "8Pi"}),
        "spec.training.resources.disk",
    ),
    "large params": (trained(params={"a": "x" * (64 * 1024 - 7)}), "spec.training.params"),
    "params of long numbers": (trained(params={"a": [1e20] * 3200}), "spec.training.params"),
    "nodes of a load": (model(load={"resources": {"nodes": 2}}), "spec.load.resources.nodes"),
    "nodes of a build": (model(build={"resources": {"nodes": 2}}), "spec.build.resources.nodes"),
    "no command of a load": (model(load={"command": []}), "spec.load.command"),
    "no command of a dataset": (
        dataset(source=IMAGE, load={"command": []}),
        "spec.load.command",
    ),
    "no command before a training": (
        model(source=BASE, load={"command": []}, training={}),
        "spec.load.command",
    ),
    "an empty program": (trained(command=["", "x"]), "spec.training.command[0]"),
    "weights that are there and a base": (
        model(source=BASE, load={"from": {"url": "s3://w/x"}}),
        "spec.load.from",
    ),
    "weights that are there and a command": (
        model(load={"from": {"url": "s3://w/x"}, "command": ["x"]}),
        "spec.load",
    ),
    "data that are there, twice": (dataset(load={"from": {"url": "s3://w"}}), "spec.load.from"),
    "NUL in a word": (trained(command=["a", "b\0"]), "spec.training.command[1]"),
    "NUL in a variable": (trained(env={"A": "\0"}), "spec.training.env.A"),
    "NUL in a param": (trained(params={"a": "\0"}), "spec.training.params.a"),
    "url . without path": (model(source={"git": {"url": "."}}), "spec.source.git"),
    "url . with a branch": (
        model(source={"git": {"url": ".", "path": "a", "branch": "b"}}),
        "spec.source.git",
    ),
    "a commit that is followed": (
        model(source={"git": {"url": "host:x", "commit": "a" * 40, "update": "Follow"}}),
        "spec.source.git",
    ),
}


@pytest.mark.parametrize(("document", "field"), INVALID.values(), ids=INVALID.keys())
def test_an_invalid_manifest_has_one_error_which_names_its_field(
    document: dict[str, Any], field: str
) -> None:
    text = yaml(document).replace("NaN", ".nan").replace("Infinity", ".inf")
    (found,) = read(text).problems
    assert found.field == field
    assert found.object is not None or field.startswith("metadata.name")


@pytest.mark.parametrize(
    "url",
    [
        "github.com/team/model",
        "https://host/team/model ",
        "https://ann:s3cret@host/team/model",
        "https://ann:s3 cr/s3cret@host/team/model",
        "https://host/team/model?private_token=s3cret",
        "https://host/team/model#s3cret",
        "ann:s3cret@host/team/model",
        "s3cret@host/team/model",
        "htps://host/x",
        "C:\\models\\falcon",
        "../model?private_token=s3cret",
        "./a b",
        "",
    ],
)
def test_a_git_url_that_can_never_work_is_an_error_of_its_field(url: str) -> None:
    (found,) = read(yaml(model(source={"git": {"url": url}}))).problems
    assert found.field == "spec.source.git.url"
    assert found.location.line
    assert "s3cret" not in found.message


@pytest.mark.parametrize("url", ["../model", "..", "./a/../b/", "git@host:a", "file:///a%25b"])
def test_a_git_url_that_may_work_is_taken(url: str) -> None:
    assert read(yaml(model(source={"git": {"url": url}}))).problems == ()


@pytest.mark.parametrize("ref", ["branch", "tag"])
@pytest.mark.parametrize("name", ["a b", "-a", "a..b", "a.lock", "/a", "a/", "a@{1}", "HEAD"])
def test_a_ref_that_git_refuses_is_an_error_of_its_field(ref: str, name: str) -> None:
    refused = subprocess.run(["git", "check-ref-format", "--branch", name], check=False)
    assert refused.returncode
    (found,) = read(yaml(model(source={"git": {"url": "host:a", ref: name}}))).problems
    assert found.field == f"spec.source.git.{ref}"


def test_an_account_may_have_a_name_with_dots_as_in_kubernetes() -> None:
    assert read(yaml(trained(serviceAccount="build.bot"))).problems == ()


@pytest.mark.parametrize(
    "url", ["s3://key:s3cret@bucket/a b", "https://h/a?s3cret a", "s3://key:s3cret@b/a"]
)
def test_a_url_in_a_message_shows_no_secret(url: str) -> None:
    (found,) = read(yaml(dataset(source={"bucket": {"url": url}}))).problems
    assert "s3cret" not in found.message


def test_a_folder_outside_its_bucket_is_an_error() -> None:
    (found,) = read(yaml(dataset(source={"bucket": {"url": "s3://a/../b"}}))).problems
    assert found.field == "spec.source.bucket.url"


def test_the_prefix_of_a_label_is_bounded() -> None:
    prefix = ".".join(["a" * 63] * 4)
    assert said(yaml(named(labels={f"{prefix}/b": ""})))[0][1] == (
        "expected at most 253 characters before the /, found 255"
    )


def test_the_other_of_two_colliding_params_is_named() -> None:
    ((_, message),) = said(yaml(trained(params={"learning-rate": 1, "learning_rate": 2})))
    assert message == ('"learning_rate" and "learning-rate" would both be PARAM_LEARNING_RATE')


@given(st.text())
def test_every_param_has_a_variable_that_a_shell_can_name(param: str) -> None:
    name = env_name(param)
    assert name.isascii()
    assert name.replace("_", "a").isalnum()
    assert is_reserved(name)
