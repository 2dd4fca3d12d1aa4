"""The published JSON Schemas: current, valid, and of one mind with the reader."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from reconciler.manifests.json_schema import kind_schema
from reconciler.manifests.yaml import read_documents
from reconciler.types import Kind
from tests.manifests.reading import dataset, model, read, yaml
from tests.manifests.test_rules import INVALID, VALID

ROOT = Path(__file__).resolve().parents[2]

#: What JSON Schema cannot say: sums, sizes, and what depends on other sections.
ONLY_VALIDATE_SAYS = {
    "formerly with an empty part",
    "formerly with too many parts",
    "prune neither true nor false",
    "large annotations",
    "a variable given twice",
    "params that collide",
    "NaN",
    "an infinity",
    "a large integer",
    "a size that no hash can hold",
    "large params",
    "params of long numbers",
    "no command of a load",
    "no command of a dataset",
    "no command before a training",
    "an empty program",
    "weights that are there and a base",
    "data that are there, twice",
    "NUL in a word",
    "NUL in a variable",
    "NUL in a param",
}

SHAPES = {
    "no kind": {"metadata": {"name": "a"}, "spec": {}},
    "no metadata": {"kind": "Model", "spec": {"source": {"image": {"ref": "x"}}}},
    "no source": model(source={}),
    "two sources": model(source={"git": {"url": "host:a"}, "model": {"name": "b"}}),
    "a null beside a source": model(source={"git": {"url": "host:a"}, "model": None}),
    "two refs": model(source={"git": {"url": "host:a", "tag": "b", "commit": "c" * 40}}),
    "a null beside a ref": model(source={"git": {"url": "host:a", "tag": "b", "branch": None}}),
    "a commit that is pinned": model(
        source={"git": {"url": "host:a", "commit": "c" * 40, "update": "Pin"}}
    ),
    "this repository": model(source={"git": {"url": ".", "path": "a/b"}}),
    "this repository as a whole": model(source={"git": {"url": ".", "path": "./"}}),
    "a path outside": model(source={"git": {"url": "host:a", "path": "b/../../c"}}),
    "a path with dots": model(source={"git": {"url": "host:a", "path": "b/..c/..."}}),
    "an unknown field": model(epochs=3),
    "a wrong type": model(suspend="true"),
    "another kind": {**model(), "kind": "Modle"},
    "another version": {**model(), "apiVersion": "substratus.ai/v2"},
    "the version": {**model(), "apiVersion": "substratus.ai/v1"},
    "durations": model(build={"timeout": "1h30m"}, load={"timeout": 90}, training={"timeout": "x"}),
    "quantities": model(training={"resources": {"cpu": "500m", "memory": "16Gi", "disk": 10**9}}),
    "a quantity": model(training={"resources": {"shm": "-1"}}),
    "a data source with a model": dataset(source={"model": {"name": "a"}}),
    "a training of data": dataset(training={}),
}


@cache
def validator(kind: Kind) -> Draft202012Validator:
    return Draft202012Validator(kind_schema(kind))


def schema_accepts(document: Any) -> bool:
    kind = Kind.DATASET if document.get("kind") == "Dataset" else Kind.MODEL
    return bool(validator(kind).is_valid(document))


def product_accepts(document: Any) -> bool:
    text = yaml(document).replace("NaN", ".nan").replace("Infinity", ".inf")
    return len(read(text).manifests) == 1


@pytest.mark.parametrize("kind", Kind)
def test_the_checked_in_schema_is_current(kind: Kind) -> None:
    published = json.loads((ROOT / "config" / f"{kind.lower()}.schema.json").read_text())
    assert published == kind_schema(kind), "write it anew with `make schemas`"


@pytest.mark.parametrize("kind", Kind)
def test_the_schema_is_a_schema(kind: Kind) -> None:
    schema = kind_schema(kind)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"https://substratus.ai/schemas/{kind.lower()}.v1.json"
    assert schema["title"] == kind.value


def test_an_editor_has_something_to_show_for_every_field_of_a_git_source() -> None:
    definitions: Any = kind_schema(Kind.MODEL)["$defs"]
    for name, field in definitions["GitSection"]["properties"].items():
        assert field.get("description"), name


@pytest.mark.parametrize("document", SHAPES.values(), ids=SHAPES.keys())
def test_schema_and_reader_judge_shapes_alike(document: dict[str, Any]) -> None:
    assert schema_accepts(document) == product_accepts(document)


@pytest.mark.parametrize("document", VALID.values(), ids=VALID.keys())
def test_the_schema_accepts_what_is_valid(document: dict[str, Any]) -> None:
    assert schema_accepts(document)


@pytest.mark.parametrize("name", INVALID)
def test_the_schema_refuses_what_it_can_see(name: str) -> None:
    assert schema_accepts(INVALID[name][0]) == (name in ONLY_VALIDATE_SAYS)


def test_the_schema_accepts_the_examples() -> None:
    seen = 0
    for file in sorted((ROOT / "examples-repo").glob("*/*.yaml")):
        for document in read_documents(file.read_bytes(), file.name)[0]:
            value: Any = document.value
            for manifest in value["items"] if value["kind"] == "List" else [value]:
                assert schema_accepts(manifest), file
                seen += 1
    assert seen > 5
