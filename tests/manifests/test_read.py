"""A file becomes manifests: what is ours, whose it is, and where it is wrong."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from reconciler.manifests.collection import collect
from reconciler.manifests.loader import read_file
from reconciler.types import Kind, Location, ObjectRef
from tests.manifests.reading import dataset, model, only, problem, read, said, yaml

MODEL = """\
kind: Model
metadata:
  name: falcon
spec:
  source:
    git:
      url: https://example.com/falcon
  training:
    params: {epochs: 3}
"""


def test_a_manifest_is_read_with_its_identity_and_its_places() -> None:
    manifest = only(MODEL)
    assert manifest.ref == ObjectRef(Kind.MODEL, "default", "falcon")
    assert manifest.file == "m.yaml"
    assert manifest.locate(("spec", "training", "params", "epochs")) == Location("m.yaml", 9, 14)


def test_manifests_share_the_sections_that_they_leave_out() -> None:
    one, other = only(MODEL).document.spec, only(MODEL.replace("falcon", "hawk")).document.spec
    assert one.build is other.build
    assert one.load is other.load
    assert one.load.resources is one.build.resources


def test_the_default_namespace_is_the_caller_s() -> None:
    (manifest,) = read_file("m.yaml", MODEL.encode(), default_namespace="team").manifests
    assert manifest.ref.namespace == "team"
    assert only(MODEL.replace("falcon\n", "falcon\n  namespace: own\n", 1)).ref.namespace == "own"


def test_comments_formatting_and_json_do_not_change_the_digest() -> None:
    as_json = json.dumps(
        {
            "spec": {
                "training": {"params": {"epochs": 3}},
                "source": {"git": {"url": "https://example.com/falcon"}},
            },
            "metadata": {"name": "falcon"},
            "kind": "Model",
        }
    )
    digest = only(MODEL).digest
    assert only(as_json).digest == digest
    assert (
        only("# why\n" + MODEL.replace("{epochs: 3}", "\n      epochs: 3 # few")).digest == digest
    )
    assert only(MODEL.replace("epochs: 3", "epochs: 4")).digest != digest


@pytest.mark.parametrize(
    "text",
    [
        "apiVersion: v1\nkind: ConfigMap\n",
        "apiVersion: apps/v1\nkind: List\nitems: [1]\n",
        "apiVersion: 3\nkind: Model\n",
        "name: a workflow\non: push\n",
        "- a\n- list\n",
        "just text\n",
        "3\n",
        "a: !Ref b\na: given twice\n",
        "kind: Deployment\nmetadata: {name: a}\nspec: {}\n",
        "kind: module\nname: a\n",
        "kind: 3\n",
        "kind:\n",
        # Text that is no YAML at all: a template, JSON by the line, another encoding, too much.
        "name: {{ .Values.name }}\n{{- if .Values.on }}\nkind: Service\n{{- end }}\n",
        "[1]\n[2]\n",
        "name: caf\udce9\n",
        "[" * 100,
        "#" * (1 << 20) + "\n",
    ],
)
def test_what_is_not_ours_is_counted_and_never_wrong(text: str) -> None:
    content = read(text)
    assert (content.others, content.problems, content.manifests) == (1, (), ())


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n---\n", "null\n", "~\n"])
def test_an_empty_document_is_nothing(text: str) -> None:
    content = read(text)
    assert (content.others, content.problems, content.manifests) == (0, (), ())
    assert not content.broken


@pytest.mark.parametrize("between", ["---\n\ufeff", "\ufeff---\n", "---\r\n\ufeff"])
def test_a_byte_order_mark_may_begin_any_document(between: str) -> None:
    content = read(f"\ufeff{MODEL}{between}{yaml(dataset())}")
    assert [m.ref.name for m in content.manifests] == ["falcon", "d"]
    assert (content.problems, content.others) == ((), 0)


def test_a_file_may_hold_ours_and_others() -> None:
    content = read(f"{MODEL}---\napiVersion: v1\nkind: Secret\n---\n{yaml(dataset())}")
    assert [m.ref.kind for m in content.manifests] == [Kind.MODEL, Kind.DATASET]
    assert content.others == 1


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("Modle", 'expected Model or Dataset, found "Modle"; did you mean "Model"?'),
        ("dataset", 'expected Model or Dataset, found "dataset"; did you mean "Dataset"?'),
        ("", "expected Model or Dataset, found nothing"),
        ("3", "expected Model or Dataset, found the number 3"),
    ],
)
def test_a_mistyped_kind_without_api_version_is_an_error(kind: str, message: str) -> None:
    found = problem(f"metadata: {{name: a}}\nkind: {kind}\nspec: {{source: {{}}}}\n")
    assert (found.location.line, found.field, found.message) == (2, "kind", message)


def test_a_kind_is_required_of_what_is_ours() -> None:
    found = problem("apiVersion: substratus.ai/v1\nmetadata: {name: a}\n")
    assert found.field == "kind"


@pytest.mark.parametrize("version", ["substratus.ai/v2", "substratus.ai/v1beta1"])
def test_another_version_of_ours_is_an_error(version: str) -> None:
    found = problem(f"apiVersion: {version}\n{MODEL}")
    assert found.message == f'expected substratus.ai/v1, found "{version}"'
    assert found.location.line == 1
    assert found.object == ObjectRef(Kind.MODEL, "default", "falcon")


@pytest.mark.parametrize("version", ["", "apiVersion: v1\n", "apiVersion: substratus.ai/v1\n"])
def test_a_list_is_read_as_its_items(version: str) -> None:
    text = f"""\
{version}kind: List
items:
  - kind: Model
    metadata: {{name: one}}
    spec: &spec {{source: {{git: {{url: ., path: a}}}}, training: &t {{params: {{n: 1}}}}}}
  - kind: Model
    metadata: {{name: two}}
    spec: {{<<: *spec, training: {{<<: *t, params: {{n: 2}}}}}}
  - {{apiVersion: v1, kind: Secret}}
  - kind: List
    items: [{{kind: Dataset, metadata: {{name: three}}, spec: {{source: 3}}}}]
  -
"""
    content = read(text)
    assert [m.ref.name for m in content.manifests] == ["one", "two"]
    first = 3 + bool(version)
    assert [m.locate(()).line for m in content.manifests] == [first, first + 3]
    assert content.others == 1
    (found,) = content.problems
    assert found.object == ObjectRef(Kind.DATASET, "default", "three")
    assert (found.field, found.message) == ("spec.source", "expected a mapping, found the number 3")
    assert found.location.line == first + 8


def test_a_flaw_within_a_list_concerns_its_item_alone() -> None:
    items = "".join(f"- {{kind: Model, metadata: {{name: {n}, name: x}}}}\n" for n in ("a", "b"))
    content = read(f"kind: List\nitems:\n- {json.dumps(model('c'))}\n{items}")
    assert [m.ref.name for m in content.manifests] == ["c"]
    doubled = [p for p in content.problems if "twice" in p.message]
    assert [(p.location.line, p.field) for p in doubled] == [
        (4, "metadata.name"),
        (5, "metadata.name"),
    ]
    assert [p.object.name for p in doubled if p.object] == ["a", "b"]


def test_a_list_of_ours_without_items_is_an_error() -> None:
    assert said("kind: List\n") == [("items", "expected a list, found nothing")]
    assert said("apiVersion: substratus.ai/v1\nkind: List\nitems: {}\n") == [
        ("items", "expected a list, found a mapping")
    ]


def test_all_errors_of_a_file_are_said_at_once_in_order() -> None:
    text = """\
kind: Model
metadata: {name: a, nmae: b}
spec:
  source: {git: {url: https://example.com/x, branch: 3}}
  training:
    epocs: 3
    params: {a: .nan, A: 1}
    env: {MODEL_DIR: x, 1A: y}
    retries: -1
    retries: 2
---
kind: Dataset
metadata: {}
"""
    content = read(text)
    assert [(p.location.line, p.field) for p in content.problems] == [
        (2, "metadata.nmae"),
        (4, "spec.source.git.branch"),
        (6, "spec.training.epocs"),
        (7, "spec.training.params.a"),
        (7, "spec.training.params.A"),
        (8, "spec.training.env.MODEL_DIR"),
        (8, "spec.training.env.1A"),
        (9, "spec.training.retries"),
        (10, "spec.training.retries"),
        (12, "spec"),
        (13, "metadata.name"),
    ]
    ref = ObjectRef(Kind.MODEL, "default", "a")
    assert [p.object for p in content.problems] == [ref] * 9 + [None] * 2


def test_a_syntax_error_leaves_the_documents_before_it_and_marks_the_file_broken() -> None:
    content = read(f"{MODEL}---\nkind: [\n")
    assert [m.ref.name for m in content.manifests] == ["falcon"]
    assert content.broken
    assert len(content.problems) == 1


def test_a_manifest_in_a_file_whose_name_is_not_utf_8_is_an_error() -> None:
    content = read(MODEL, os.fsdecode(b"caf\xe9.yaml"))
    assert (content.manifests, content.broken) == ((), True)
    (found,) = content.problems
    assert str(found).startswith("caf\\xe9.yaml: the name of the file is not UTF-8")


def test_what_is_not_ours_is_told_of_a_name_that_is_not_utf_8_and_breaks_nothing() -> None:
    content = read("on: push\n", os.fsdecode(b"caf\xe9.yaml"))
    assert (len(content.problems), content.others, content.broken) == (1, 1, False)
    found = collect([content])
    assert found.problems
    assert found.unreadable == ()


@pytest.mark.parametrize(
    "text",
    [
        "apiVersion: substratus.ai/v1\nname: {{ .Values.name }}\n{{ end }}\n",
        "kind: Model\n  metadata: {}\n",
        "kind: [Model\n",
        "kind: [\n",
        "metadata: {name: a\nkind:\n",
        "kind: Model # caf\udce9\n",
        "kind: Model\n" + "#" * (1 << 20),
        "k\0i\0n\0d\0:\0 \0M\0o\0d\0e\0l\0\n\0",  # UTF-16, as PowerShell writes it
    ],
)
def test_what_says_that_it_is_ours_and_cannot_be_read_is_an_error(text: str) -> None:
    content = read(text)
    assert (content.broken, content.doubts) == (True, ())
    (found,) = content.problems
    assert found.message.endswith("; if it is no manifest, name it in .reconcilerignore")


@pytest.mark.parametrize("text", ["[", "kind: Modl", "kind: Deployment\nmetadata: {name: a}\n"])
def test_what_may_have_been_a_manifest_is_doubted(text: str) -> None:
    content = read(text)
    assert (content.problems, len(content.doubts), content.broken) == ((), 1, False)


def test_an_invalid_document_does_not_make_its_file_broken() -> None:
    assert not read("metadata: {}\nkind: Modle\n").broken


def test_a_doubled_key_names_its_object_and_spares_the_other_documents() -> None:
    content = read(f"{MODEL}  suspend: true\n  suspend: false\n---\n{yaml(dataset())}")
    assert [m.ref.name for m in content.manifests] == ["d"]
    (found,) = content.problems
    assert found.object == ObjectRef(Kind.MODEL, "default", "falcon")
    assert found.field == "spec.suspend"
    assert not content.broken


@pytest.mark.parametrize(
    ("document", "field", "message"),
    [
        (
            model(training={"epocs": 3, "mod": "Scratch"}),
            "spec.training.mod",
            'unknown field "mod"; did you mean "mode"?',
        ),
        (model(lod={}), "spec.lod", 'unknown field "lod"; did you mean "load"?'),
        (model(zzz={}), "spec.zzz", 'unknown field "zzz"'),
        (
            model(training={"secret_env": {}}),
            "spec.training.secret_env",
            'unknown field "secret_env"; did you mean "secretEnv"?',
        ),
        (model(suspend="yes"), "spec.suspend", 'expected true or false, found "yes"'),
        (
            model(training={"env": {"A": 3}}),
            "spec.training.env.A",
            "expected a string, found the number 3; put it in quotes",
        ),
        (
            model(training={"command": "train.sh"}),
            "spec.training.command",
            'expected a list, found "train.sh"',
        ),
        (
            model(training={"command": []}),
            "spec.training.command",
            "expected at least 1 item, found 0",
        ),
        (
            model(training={"retries": 101}),
            "spec.training.retries",
            "expected at most 100, found the number 101",
        ),
        (
            model(training={"retries": 1.5}),
            "spec.training.retries",
            "expected a whole number, found the number 1.5",
        ),
        (
            model(training={"mode": "finetune"}),
            "spec.training.mode",
            'expected "Finetune" or "Scratch", found "finetune"; did you mean "Finetune"?',
        ),
        (
            model(training={"timeout": "soon"}),
            "spec.training.timeout",
            'expected a duration such as 90s, 1h30m or 2d, found "soon"',
        ),
        (
            model(training={"resources": {"memory": "16GB"}}),
            "spec.training.resources.memory",
            'expected a quantity such as 2, 500m or 16Gi, found "16GB"',
        ),
        (model(source={}), "spec.source", "expected exactly one of git, model, image; found none"),
        (
            model(source={"git": {"url": "host:a"}, "model": {"name": "b"}}),
            "spec.source",
            "expected exactly one of git, model, image; found git and model",
        ),
        (model(source={"model": {}}), "spec.source.model.name", "is required"),
        (model(training={"dataset": {}}), "spec.training.dataset.name", "is required"),
        (
            model(source={"image": {"ref": "a:latest"}}),
            "spec.source.image.ref",
            (
                "expected an image pinned by digest: registry/name@sha256:<64 hex digits>; "
                'found "a:latest"'
            ),
        ),
        (
            model(source={"git": {"url": "host:a", "branch": "b", "tag": "c"}}),
            "spec.source.git",
            "expected at most one of branch, tag and commit, found branch and tag",
        ),
        (
            model(source={"git": {"url": "host:a", "path": "../b"}}),
            "spec.source.git.path",
            'expected a path inside the repository, found "../b"',
        ),
        (
            model("Falcon_7B"),
            "metadata.name",
            (
                "expected a DNS-1123 label: at most 63 of a-z, 0-9 and -, "
                'the first and the last no -; found "Falcon_7B"'
            ),
        ),
    ],
)
def test_messages_say_what_was_expected_and_found(
    document: dict[str, object], field: str, message: str
) -> None:
    assert (field, message) in said(yaml(document))


def test_long_values_and_names_are_cut_short() -> None:
    long = "x" * 100_000
    unknown: dict[str, Any] = {long: 1}
    for document in (model(training={"mode": long}), model(**unknown), model(long)):
        (found,) = read(yaml(document)).problems
        assert len(str(found)) < 400


def test_a_missing_field_is_placed_at_the_section_that_lacks_it() -> None:
    found = problem("kind: Model\nmetadata: {name: a}\nspec:\n  source:\n    git: {path: x}\n")
    assert (found.location.line, found.field) == (5, "spec.source.git.url")


def test_of_very_many_errors_of_a_manifest_the_first_are_listed() -> None:
    fields = "".join(f"    k{number}: 1\n" for number in range(60_000))
    found = said(f"kind: Model\nmetadata: {{name: m}}\nspec:\n  training:\n{fields}")
    assert len(found) < 120
    assert ("", "59951 more errors are not listed") in found
